"""Match responses to requests on a serial line (RTU, ASCII), where a response may come late.

Without transaction ids a late response looks like the next of the same unit, function and length. A unit responds
in the order of its requests, or not at all. So a response belongs to the earliest request that it fits, and earlier
requests will not be answered any more. If the response to a new request would look like the response to a pending
request, a probe is sent first: its response looks different, and proves that no earlier response is outstanding.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.modbus.pdu import answers_request, echo, response_prefix, similar_reads

LATE = 60.0
"""Seconds after which no response to a request is expected any more."""

MOST = 32
"""Unanswered requests that are kept per unit; no device queues more."""


class _PendingRequest(NamedTuple):
    """A pending request; `at` is its time by the event loop's clock."""

    transaction: int
    pdu: bytes
    at: float


class PendingRequests:
    """The unanswered requests of each unit, in their order."""

    def __init__(self, token: int) -> None:
        """Start without requests; `token` is the first number of echo probes."""
        self._unanswered: dict[int, list[_PendingRequest]] = {}
        self._token = token
        self._without_echo: set[int] = set()  # units that do not answer an echo

    def ambiguous(self, unit: int, pdu: bytes, now: float) -> bool:
        """Return True if a response to an earlier request could be mistaken for the response to this request."""
        unanswered = [asked for asked in self._unanswered.get(unit, ()) if now - asked.at < LATE]
        self._unanswered[unit] = unanswered
        mine = response_prefix(pdu)
        return any(_alike(mine, response_prefix(asked.pdu)) for asked in unanswered)

    def probe(self, unit: int, pdu: bytes, now: float) -> bytes:
        """Return a request to send before an ambiguous request; no earlier response looks like its response.

        The unit echoes a number that was not used before (function 8), or refuses to. A unit that does not answer
        echoes gets a read from the same table with another count.
        """
        if unit in self._without_echo:
            for other in similar_reads(pdu):
                if not self.ambiguous(unit, other, now):
                    return other
        self._token = self._token % 0xFFFF + 1
        return echo(self._token)

    def probe_timed_out(self, unit: int, probe: bytes) -> None:
        """Switch to the other kind of probe, after a probe without a response."""
        if probe == echo(self._token):
            self._without_echo.add(unit)
        else:
            self._without_echo.discard(unit)

    def sent(self, unit: int, transaction: int, pdu: bytes, now: float) -> None:
        """Append a request."""
        unanswered = self._unanswered.setdefault(unit, [])
        unanswered.append(_PendingRequest(transaction, pdu, now))
        del unanswered[:-MOST]

    def match(self, unit: int, pdu: bytes) -> int | None:
        """Remove the request that a response belongs to; return its transaction, None if there is no such request."""
        unanswered = self._unanswered.get(unit, [])
        for i, asked in enumerate(unanswered):
            if answers_request(pdu, asked.pdu):
                del unanswered[: i + 1]
                return asked.transaction
        if len(unanswered) == 1 and unanswered[0].pdu[0] == pdu[0]:  # of another length than requested
            return unanswered.pop().transaction
        return None


def _alike(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)
