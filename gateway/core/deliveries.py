"""Deliveries: what becomes of one after an attempt, and when the next one is due (contract section 7).

By default eight attempts within 24 hours: after 15 s, 1, 4, 16 and 64 minutes, 4 h 16 min and 17 h 4 min, each a tenth
more or less, so that what failed together does not come back together.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.core.webhooks import Attempt

FACTOR: Final = 4.0
JITTER: Final = 0.1


class DeliveryStatus(enum.StrEnum):
    """Whether a delivery is still to be made, was made, or is given up (a dead letter)."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


class WebhookStatus(enum.StrEnum):
    """Whether a key's events are sent; while they are not, they wait.

    PAUSED by the owner, or because nothing could be delivered for days; DISABLED because the receiver said 410.
    """

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """How often is tried, and the seconds after the first attempt; each wait is FACTOR times as long as the last."""

    attempts_max: int = 8
    first_s: float = 15.0

    def wait_s(self, failed: int, jitter: float) -> float:
        """Give the seconds to wait after *failed* attempts; *jitter* lies between -1 and 1."""
        return self.first_s * FACTOR ** (failed - 1) * (1 + JITTER * jitter)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a delivery; one that is pending is due again in *due_in_s*."""

    status: DeliveryStatus
    due_in_s: float = 0.0


def judge(attempt: Attempt, failed_before: int, schedule: RetrySchedule, jitter: float) -> Judgement:
    """Judge an *attempt* after *failed_before* others of the same round. A receiver that is gone is not asked again."""
    if attempt.delivered:
        return Judgement(DeliveryStatus.DELIVERED)
    failed = failed_before + 1
    if attempt.gone or failed >= schedule.attempts_max:
        return Judgement(DeliveryStatus.DEAD)
    return Judgement(DeliveryStatus.PENDING, schedule.wait_s(failed, jitter))
