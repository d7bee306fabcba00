"""Login attempts: how many may fail, for whom they count, and how one may end.

Every attempt that begins holds a place until it ends, so that attempts side by side cannot exceed the limit; a failure
keeps its place for the window. There is no limit for an e-mail alone: anybody could lock its owner out.
"""

from __future__ import annotations

import enum
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """Failures of a pair of e-mail and address, and of an address, within *window_ms*.

    *lease_ms* is for how long an attempt that never ends holds its place.
    """

    pair_max: int = 10
    address_max: int = 100
    window_ms: int = 900_000
    lease_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: its own id, the address as limits know it, and a digest of the e-mail."""

    id: str
    address: str
    email_digest: str


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit is used up; a place is free again in *retry_in_ms* at the earliest."""

    limit: int
    retry_in_ms: int


class Ending(enum.Enum):
    """How an attempt ended. One that could not be judged, because something failed on our side, counts for nothing."""

    FAILED = "failed"
    SUCCEEDED = "succeeded"
    UNJUDGED = "unjudged"


def folded(email: str) -> str:
    """Write *email* so that all spellings of one login come out equal, whichever way Postgres folds capitals.

    Two logins may come out equal too, and then share a limit at one address, which is harmless; the other way round
    each spelling of an e-mail would have guesses of its own.
    """
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", email).casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))
