"""What a line without transaction ids (RTU, ASCII) may still bring, so that no answer is taken for another's.

A late answer looks like the next one of the same unit, function and length. What tells them apart is order: a
unit answers in the order in which it was asked, or not at all. So an answer belongs to the earliest request that
it could belong to, and whatever was asked before that will not be answered any more. Where a request's answer could
not be told from an earlier one's, a probe goes before it: its answer looks different, and shows that the earlier
ones are through.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.modbus.pdu import beginning, belongs, echo, read_again

LATE = 60.0
"""Seconds after which no device answers any more."""

MOST = 32
"""The latest requests that one unit is thought to owe an answer; no device keeps more."""


class _PendingRequest(NamedTuple):
    """One request that was not answered yet. `at` is by the clock of the event loop."""

    transaction: int
    pdu: bytes
    at: float


class PendingRequests:
    """What each unit still owes."""

    def __init__(self, token: int) -> None:
        """Begin; `token` is where the numbers of echoes start."""
        self._owed: dict[int, list[_PendingRequest]] = {}
        self._token = token
        self._mute: set[int] = set()  # units that do not answer an echo

    def doubtful(self, unit: int, pdu: bytes, now: float) -> bool:
        """Return whether an earlier answer could still come that looks like that to this request."""
        owed = [asked for asked in self._owed.get(unit, ()) if now - asked.at < LATE]
        self._owed[unit] = owed
        mine = beginning(pdu)
        return any(_alike(mine, beginning(asked.pdu)) for asked in owed)

    def probe(self, unit: int, pdu: bytes, now: float) -> bytes:
        """Return a request whose answer can't be taken for an earlier one's, to be sent before a doubtful one.

        A unit is asked to echo a number that was not used yet (function 8), or to refuse that. One that stays
        silent is asked for entries of the same table, but another number of them.
        """
        if unit in self._mute:
            for other in read_again(pdu):
                if not self.doubtful(unit, other, now):
                    return other
        self._token = self._token % 0xFFFF + 1
        return echo(self._token)

    def unanswered(self, unit: int, probe: bytes) -> None:
        """Note that a probe was in vain: the next one is of the other kind."""
        if probe == echo(self._token):
            self._mute.add(unit)
        else:
            self._mute.discard(unit)

    def asked(self, unit: int, transaction: int, pdu: bytes, now: float) -> None:
        """Note that a request is sent."""
        owed = self._owed.setdefault(unit, [])
        owed.append(_PendingRequest(transaction, pdu, now))
        del owed[:-MOST]

    def answered(self, unit: int, pdu: bytes) -> int | None:
        """Return the transaction that an answer belongs to, None where to none. It is owed no more then."""
        owed = self._owed.get(unit, [])
        for i, asked in enumerate(owed):
            if belongs(pdu, asked.pdu):
                del owed[: i + 1]
                return asked.transaction
        if len(owed) == 1 and owed[0].pdu[0] == pdu[0]:  # of a device that answers what was not asked
            return owed.pop().transaction
        return None


def _alike(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)
