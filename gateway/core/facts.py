"""Facts: the part of a request that policy may look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from gateway.core.credentials import Credential, CredentialProblem
    from gateway.core.paths import Target


class RequestFacts(Struct):
    """What is asked (method, target), who asks (address), and what was presented."""

    method: str
    target: Target
    client_address: str
    credential: Credential | CredentialProblem
    address_is_known: bool = True
