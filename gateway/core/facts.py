"""Facts: the part of a request that policy may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.credentials import Credential, CredentialProblem
    from gateway.core.paths import Target


@dataclass(slots=True)
class RequestFacts:
    """What is asked (method, target), who asks (address), and what was presented."""

    method: str
    target: Target
    client_address: str
    credential: Credential | CredentialProblem
    address_is_known: bool = True
