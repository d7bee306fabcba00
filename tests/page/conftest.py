"""The page's clients, and its texts as they are when somebody has filled in what is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.owners import Owner
from tests.page.clients import Curl, Fetch, Requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateways import Gateway

Client = Curl | Fetch | Requests


@pytest.fixture(scope="package", params=[Curl, Fetch, Requests], ids=["curl", "fetch", "requests"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Each of the clients."""
    with request.param() as client:
        yield client


@pytest.fixture(params=["", "/v1"], ids=["bare", "v1"])
def base(request: pytest.FixtureRequest, gateway: Gateway) -> str:
    """The address that stands for the page's, with and without /v1."""
    return gateway.url + request.param


@pytest.fixture(scope="package")
def owner(gateway_server: Gateway) -> Owner:
    """Somebody who has logged in before."""
    return Owner(gateway_server)
