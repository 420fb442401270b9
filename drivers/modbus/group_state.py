"""The request plan of one group: the merged plan, and the blocks that the device answers only in parts.

No conclusion from a refusal or a time-out is permanent: a block that is read in parts is tried as a whole again,
first after a period of the group, then after twice the time, up to `retry_refused`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.modbus.codec import fallible
from drivers.modbus.plan import apart, arranged, limits_of, plan, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drivers.base import Fault
    from drivers.modbus.plan import Request
    from drivers.modbus.source import ModbusGroup

SPLIT_AFTER = 3
"""Consecutive refusals after which a request that was answered before is split."""

EAGER = 120.0
"""Seconds after the first failure of a request that was answered before, with attempts at short intervals. Most
troubles are short: the plan is as before within two periods of their end."""

FEWEST, MOST = 1.0, 30.0
"""Seconds between attempts of a request without a response from a unit that answers others: at first, at most."""


@dataclass(slots=True)
class History:
    """The results of one request in previous scans.

    `answered`  whether it was ever answered
    `refusals`  consecutive scans in which it was refused
    `silent`    consecutive scans in which it got no response, or the connection was closed
    `closes`    whether the connection was closed at the last of these
    `wait`      seconds until the next attempt; `retry_at` is its time by the event loop's clock, and `eager_until`
                the end of the time in which the intervals are short
    """

    answered: bool = False
    refusals: int = 0
    silent: int = 0
    closes: bool = False
    wait: float = 0.0
    retry_at: float = 0.0
    eager_until: float = 0.0

    def succeed(self) -> None:
        """Record a response."""
        self.answered = True
        self.refusals = self.silent = 0
        self.closes = False
        self.wait = self.retry_at = 0.0

    def postpone(self, now: float, first: float, most: float) -> None:
        """Postpone the next attempt, each time twice as long."""
        self.wait = min(self.wait * 2 or first, most)
        self.retry_at = now + self.wait


@dataclass(slots=True)
class PartedBlock:
    """A block that is read in parts; points in `refused` are in none of them.

    Until `eager_until`, by the event loop's clock, it is tried as a whole at short intervals.
    """

    whole: Request
    parts: list[Request]
    refused: dict[int, Fault] = field(default_factory=dict)
    wait: float = 0.0
    retry_at: float = 0.0
    eager_until: float = 0.0


class GroupState:
    """The requests of one group as the device answers them; positions are those of points in the group.

    `apart` are the scale registers that are in no request of a point, by position; `scale_requests` read them.

    `settled` is whether the last scan had an answer to each request of the merged plan, and `ahead` the time, the
    answers and the failure of a scan that was given up, in the order of the plan: the next scan continues with them.
    """

    __slots__ = (
        "_history",
        "_parted",
        "_suspects",
        "ahead",
        "apart",
        "discard",
        "every",
        "fallible",
        "limits",
        "merged",
        "plan",
        "points",
        "scale_registers",
        "scale_requests",
        "settings",
        "settled",
    )

    def __init__(self, group: ModbusGroup) -> None:
        """Plan the requests of the group. Raises `ValueError` if a point can't be read within the limits."""
        self.settings = group.connection
        absent = dict(self.settings.not_available)
        self.points = tuple(point.with_absent(absent) for point in group.sources) if absent else group.sources
        self.every = group.every
        self.limits = limits_of(self.settings)
        self.merged = plan(self.points, self.limits)
        self.plan = self.merged
        self.fallible = fallible(self.points)
        self.apart = apart(self.points, self.limits)
        registers = tuple(dict.fromkeys(self.apart.values()))
        self.scale_requests = plan(registers, self.limits).requests
        self.scale_registers = registers
        self.discard = 0
        self.settled = False
        self.ahead: tuple[int, list[bytes | Exception | None]] = (0, [])
        self._parted: list[PartedBlock] = []
        self._history: defaultdict[bytes, History] = defaultdict(History)
        self._suspects: set[bytes] = set()

    @property
    def eager_wait(self) -> float:
        """Seconds between two attempts that may cost a time-out each: a third of the time at most."""
        return max(self.every, 3 * self.settings.timeout)

    def history(self, planned: Request) -> History:
        """Return the history of a request."""
        return self._history[planned.pdu]

    @property
    def refused(self) -> dict[int, Fault]:
        """Points that are in no request, since the device refuses them."""
        return {position: fault for block in self._parted for position, fault in block.refused.items()}

    @property
    def parted(self) -> bool:
        """Whether blocks are read in parts."""
        return bool(self._parted)

    def ordered(self, now: float) -> tuple[Sequence[Request], Sequence[Request]]:
        """Return the requests to send, and the requests to leave out in this scan.

        Suspects are last. At most one of the requests that get no response is sent: it may cost a time-out.
        """
        requests = self.plan.requests
        if self._suspects:
            requests = tuple(sorted(requests, key=lambda planned: planned.pdu in self._suspects))
        silent = [planned for planned in requests if self._history[planned.pdu].silent]
        if not silent:
            return requests, ()
        due = [planned for planned in silent if self.history(planned).retry_at <= now]
        chosen = min(due, key=lambda planned: self.history(planned).retry_at, default=None)
        left = [planned for planned in silent if planned is not chosen]
        healthy = [planned for planned in requests if planned not in silent]
        return healthy + ([] if chosen is None else [chosen]), left

    def settle(self) -> None:
        """Note whether all requests of the merged plan were answered."""
        histories = [self._history[planned.pdu] for planned in self.plan.requests]
        troubled = any(not one.answered or one.refusals or one.silent for one in histories)
        self.settled = self.plan is self.merged and not self._suspects and not troubled

    def take_ahead(self) -> tuple[int, list[bytes | Exception | None]]:
        """Return the time and the answers of a scan that was given up, and forget them."""
        ahead, self.ahead = self.ahead, (0, [])
        return ahead

    def suspect(self, planned: Request) -> None:
        """Send a request after all others in the next scans, until it is answered."""
        self._suspects.add(planned.pdu)

    def succeed(self, planned: Request) -> None:
        """Record a response to a request."""
        history = self._history[planned.pdu]
        if not history.answered or history.refusals or history.silent or history.wait:
            history.succeed()
        self._suspects.discard(planned.pdu)

    def part(self, whole: Request, parts: Iterable[Request], refused: dict[int, Fault], now: float) -> None:
        """Read a block in parts from now on, without the points in `refused`."""
        for block in self._parted:
            if whole in block.parts:
                block.parts.remove(whole)
                block.parts += parts
                block.refused |= refused
                break
        else:
            eager_until = now + EAGER if self.history(whole).answered else 0.0
            block = PartedBlock(whole, list(parts), refused, self.every, now + self.every, eager_until)
            self._parted.append(block)
        self._arrange()

    def due(self, now: float) -> list[PartedBlock]:
        """Return the blocks that are to be tried as a whole again."""
        return [block for block in self._parted if block.retry_at <= now]

    def restore(self, block: PartedBlock) -> None:
        """Read a block as a whole again."""
        self._parted.remove(block)
        self.succeed(block.whole)
        self._arrange()

    def postpone(self, block: PartedBlock, now: float) -> None:
        """Postpone the attempt to read a block as a whole: first by a short interval, later by twice the time."""
        if now < block.eager_until:
            block.retry_at = now + self.eager_wait
            return
        block.wait = min(block.wait * 2, self.settings.retry_refused)
        block.retry_at = now + block.wait

    def readmit(self, block: PartedBlock, position: int) -> None:
        """Read a refused point again, in a request of its own."""
        del block.refused[position]
        block.parts.append(request(self.points, (position,), self.limits))
        self._arrange()

    def _arrange(self) -> None:
        replaced = {block.whole.pdu: block.parts for block in self._parted}
        requests = [part for whole in self.merged.requests for part in replaced.get(whole.pdu, [whole])]
        self.plan = arranged(tuple(requests), len(self.points))
        known = {planned.pdu for planned in (*requests, *self.merged.requests)}
        for pdu in self._history.keys() - known:
            del self._history[pdu]
        self._suspects &= known
