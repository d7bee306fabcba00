"""Emitting: what a successful write announces, copied from its answer as that passes to the client.

The event is in the journal before the end of the answer leaves. An answer that breaks off, or a client that goes, does
not undo what the upstream has done, so it is announced all the same, without a body.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from msgspec.structs import astuple

from gateway.adapters.http.answer import UpstreamAnswer
from gateway.core.events import uuid7
from gateway.core.webhook_events import COPY_MAX_BYTES, Missing, WebhookEvent, data_of, encode, unreadable

if TYPE_CHECKING:
    from gateway.accounting.moments import Moments
    from gateway.accounting.record import RequestRecord
    from gateway.adapters.journal import Journal


def emitting(answer: UpstreamAnswer, record: RequestRecord, journal: Journal, moments: Moments) -> UpstreamAnswer:
    """Give *answer* as one that announces what its route emits for the method, or as it is where that is nothing."""
    assert record.route is not None
    event = record.route.emits.get(record.method)
    successful = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
    if event is None or not successful or record.key is None:
        return answer
    return _EmittingAnswer(*(*astuple(answer), _Emission(event, answer, record, journal, moments)))


class _Emission:
    """Copies what it needs of one answer, and in the end writes the event, once."""

    def __init__(
        self, event: str, answer: UpstreamAnswer, record: RequestRecord, journal: Journal, moments: Moments
    ) -> None:
        self._event = event
        self._record = record
        self._journal = journal
        self._moments = moments
        self._copy: list[bytes] = []
        self._size = 0
        self._missing = unreadable(answer.fields)
        self._over = False

    def add(self, data: bytes) -> None:
        """Copy *data*, while there is room."""
        self._size += len(data)
        if self._size <= COPY_MAX_BYTES:
            self._copy.append(data)
        else:
            self._copy.clear()

    def end(self, *, whole: bool) -> None:
        """Write the event to the journal; *whole* is whether all of the answer was seen."""
        if self._over:
            return
        self._over = True
        record = self._record
        assert record.key is not None
        assert record.route is not None
        assert record.facts is not None
        at, id_start = self._moments.stamp(record.now)
        event = WebhookEvent(
            id=uuid7(id_start, record.entropy),
            at=at,
            account_id=record.key.account_id,
            event=self._event,
            data=data_of(b"".join(self._copy), self._why(whole=whole), record.facts.target, record.route.pattern),
        )
        self._journal.append(encode(event))

    def _why(self, *, whole: bool) -> Missing | None:
        """Say why there is no body to be read, if there was one."""
        if not whole:
            return Missing.INCOMPLETE
        if not self._size:
            return None
        return self._missing or (Missing.TOO_LONG if self._size > COPY_MAX_BYTES else None)


class _EmittingAnswer(UpstreamAnswer):
    """An answer that is copied as it is read."""

    _emission: _Emission

    async def read(self) -> tuple[bytes, bool]:
        """As an answer does, with the event written before the last bytes are given."""
        data, last = await super().read()
        self._emission.add(data)
        if last:
            self._emission.end(whole=True)
        return data, last

    def take_body(self) -> bytes:
        """As an answer does, with the event written."""
        body = super().take_body()
        self._emission.add(body)
        self._emission.end(whole=True)
        return body

    def release(self) -> None:
        """Write the event of an answer that was not read to its end, and let the connection go."""
        self._emission.end(whole=False)
        super().release()
