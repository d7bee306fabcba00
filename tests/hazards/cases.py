"""The hazard table: bytes that servers could read differently, and what is right.

Each case is sent to the gateway, in both of its tiers, and to nginx as a control, which says whether an expectation is
fair. Where nginx does something else, the case says what, and why that is no example for us.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PATH = "/api/public/budgets"
HIDDEN = f"GET {PATH}/hidden HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {{key}}\r\n\r\n"
GET, POST = f"GET {PATH} HTTP/1.1", f"POST {PATH} HTTP/1.1"


@dataclass(frozen=True)
class Outcome:
    """The statuses of all answers, the request lines that the backend gets, and *why*, where that needs a reason.

    *goes_on* says that the connection serves further requests afterwards.
    """

    answers: tuple[int, ...] = (400,)
    reaches: tuple[str, ...] = ()
    goes_on: bool = False
    why: str = ""


@dataclass(frozen=True)
class Case:
    """What is sent, with `{key}` in the place of a key, for which *row* of the hazards; *control* is what nginx does."""

    row: int
    name: str
    data: str
    right: Outcome = field(default_factory=Outcome)
    control: Outcome | None = None

    @property
    def of_the_control(self) -> Outcome:
        """What nginx is expected to do: the right thing, unless there is a reason."""
        return self.control or self.right

    def bytes_with(self, key: str) -> bytes:
        """What to send."""
        return self.data.replace("{key}", key).encode("latin-1")


def head(*lines: str, start: str = POST, host: str = "Host: a") -> str:
    """A request's head with a key."""
    return "\r\n".join([start, *([host] if host else []), "Authorization: Bearer {key}", *lines, "", ""])


def served(*lines: str, answers: tuple[int, ...] = (200,), goes_on: bool = True, why: str = "") -> Outcome:
    """All of *lines* reach the backend."""
    return Outcome(answers, lines, goes_on, why)


def both(why: str, line: str = POST) -> Outcome:
    """The hidden request runs, too: what is refused by us is understood as a valid end of the first."""
    return served(line, f"GET {PATH}/hidden HTTP/1.1", answers=(200, 200), why=why)


def said(status: int, why: str) -> Outcome:
    """Refused with another status."""
    return Outcome((status,), why=why)
