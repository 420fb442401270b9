"""The readings that the stores must have after all faults, and those that they must not have.

Every answer that a machine gave is known (machines.py), and so are the records that a gateway had on its disk when it
was killed (promised.py), and the confirmed records (watch.py). So every answer is an obligation, except those that
were on their way to the disk at the death of a gateway. An obligation may be missing from a store only where the
gateway's ledger counts it as dropped and it was never confirmed. No answer may be there twice, in part, changed, at
another time, or without having been served.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.machines import POINTS, check_of, third_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNSPOOLED = 5_000_000
"""Microseconds before the death of a gateway in which an answer may not have reached its disk: the group commit takes
50 ms of them, all else is that a busy machine may not let the gateway run."""

TICK = 1000
"""Microseconds by which the gateway's clock may be ahead, since it gives no time twice."""

SECOND = 1_000_000

SETTLED = 60_000_000
"""Microseconds within which a gateway is right again after its clock was stepped."""

DOUBT = 5_000_000
"""Microseconds by which a doubtful time may be off: a step is seen at a look at both clocks."""

DIGITS = 1e-11
"""VictoriaMetrics keeps about 12 digits of a number."""


class Stored(NamedTuple):
    """One reading of a store; `time` in microseconds, `value` None where it is bad, `doubtful` if uncertain."""

    unit: int
    point: str
    time: int
    value: Any
    doubtful: bool = False


@dataclass
class Truth:
    """The answers that were served, and those of them that need not be stored. Times are in microseconds.

    `served` has the time of each answer, by unit. `excused` are answers (unit, count) that died with a gateway before
    they were on its disk, `confirmed` are some of those that are stored, as ingest has confirmed. `off` is when the
    machines were switched off: from then on points are bad.
    """

    served: Mapping[int, Sequence[int]]
    excused: set[tuple[int, int]] = field(default_factory=set)
    confirmed: set[tuple[int, int]] = field(default_factory=set)
    off: float = math.inf
    steps: list[list[float]] = field(default_factory=list)
    """When the gateway's clock was stepped, when it was set right, and by how much it was ahead."""
    newest: dict[int, int] = field(default_factory=dict)
    """The last answer of each unit that was on the disk at some death: damage may have made it unreadable since."""

    @property
    def spooled(self) -> int:
        """How many answers the gateway had on its disk at some time."""
        return sum(map(len, self.served.values())) - len(self.excused)

    def died(self, at: int, spooled: Mapping[int, int], held_up: Iterable[tuple[int, int]] = ()) -> None:
        """Note the death of a gateway, after which nothing is answered to it.

        `spooled` is the last answer of each unit that was on its disk, -1 where none was: those after it are lost
        with the gateway. No gateway may keep an answer in memory alone for longer than `UNSPOOLED`, but while it can
        not write: `held_up` are the times in which its disk was full, or it was frozen.
        """
        since = at
        for start, end in sorted(held_up, reverse=True):
            if end >= since - UNSPOOLED:  # one may follow another before the pending answers are written
                since = min(since, start)
        for unit, times in self.served.items():
            self.newest[unit] = max(spooled[unit], self.newest.get(unit, -1))
            for count in range(self.newest[unit] + 1, len(times)):
                if times[count] >= since - UNSPOOLED:
                    self.excused.add((unit, count))

    def may_be_at(self, unit: int, count: int, time: int, *, doubtful: bool = False) -> bool:
        """Return whether an answer can have been acquired at a time: before the next answer was requested.

        A gateway follows a stepped clock at once, so what it reads meanwhile has the time of the wrong clock.
        About a step a time may also be some seconds off, or that of the other clock, where it is marked as doubtful.
        """
        times = self.served[unit]
        following = times[count + 1] if count + 1 < len(times) else math.inf
        if times[count] <= time <= following + TICK:
            return True
        now = [ahead for since, until, ahead in self.steps if since - SECOND <= times[count] <= until + SECOND]
        if any(times[count] + ahead - TICK <= time <= following + ahead + TICK for ahead in now):
            return True
        near = [ahead for since, until, ahead in self.steps if since - DOUBT <= times[count] <= until + SETTLED]
        clocks = {0, *near} if near and doubtful else set()
        return any(times[count] + ahead - DOUBT <= time <= following + ahead + DOUBT for ahead in clocks)


@dataclass
class Verdict:
    """The result of comparing truth and store: numbers of answers, except `readings` and `bad`."""

    store: str
    served: int = 0
    readings: int = 0
    bad: int = 0
    stored: int = 0
    excused: int = 0
    dropped: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.doubled or self.wrong)

    def __str__(self) -> str:
        line = (f"{self.store:16} {self.served:8} {self.stored:8} {self.excused:8} {self.dropped:8} "
                f"{len(self.lost):6} {len(self.doubled):8} {len(self.wrong):6}")  # fmt: skip
        examples = [*self.lost[:5], *self.doubled[:5], *self.wrong[:5]]
        return "\n".join([line, *(f"    {example}" for example in examples)])


HEADING = "store              served   stored  excused  dropped   lost  doubled  wrong"


def in_steps(readings: Iterable[Stored], step: int) -> list[Stored]:
    """Return the readings that a store whose times have a resolution of `step` (us) can keep.

    Of two answers in one step, as after a freeze, such a store keeps either: both are left out.
    """
    answers: dict[tuple[int, int], set[int]] = defaultdict(set)
    rounded = [reading._replace(time=reading.time // step * step) for reading in readings]
    for before, reading in zip(readings, rounded, strict=True):
        answers[reading.unit, reading.time].add(before.time)
    return [reading for reading in rounded if len(answers[reading.unit, reading.time]) == 1]


def differences(
    finer: Iterable[Stored], coarser: Iterable[Stored], step: int
) -> tuple[list[tuple[int, int, str]], list[str]]:
    """Compare a store with a resolution of `step` (us) with one that resolves microseconds.

    Returns the readings that it lacks (unit, time, point), and a line for each that it doubled, changed or invented.
    """
    wanted = {
        (one.unit, one.time, one.point): one.value for one in in_steps(list(finer), step) if one.value is not None
    }
    crowded = {(one.unit, one.time // step * step) for one in finer} - {key[:2] for key in wanted}
    found: dict[tuple[int, int, str], Any] = {}
    problems = []
    for one in coarser:
        if (one.unit, one.time) in crowded:
            continue
        if (one.unit, one.time, one.point) in found:
            problems.append(f"twice: {one}")
        found[one.unit, one.time, one.point] = one.value
    missing = sorted(wanted.keys() - found.keys())
    problems += [f"invented: {key}" for key in found.keys() - wanted.keys()]
    problems += [
        f"changed: {key}: {found[key]} for {value}"
        for key, value in wanted.items()
        if key in found and not math.isclose(found[key], value, rel_tol=DIGITS)
    ]
    return missing, sorted(problems)


def betrayed(missing: Iterable[tuple[int, int, str]], finer: Iterable[Stored], truth: Truth, step: int) -> list[str]:
    """Return which of the readings that the coarser store lacks belong to answers that were confirmed."""
    count_at = {(one.unit, one.time // step * step): one.value for one in finer if one.point == "count"}
    return [
        f"unit {unit}: answer {count_at[unit, time]}, confirmed, its {point}"
        for unit, time, point in missing
        if (unit, count_at[unit, time]) in truth.confirmed
    ]


def judge(store: str, truth: Truth, readings: Iterable[Stored], dropped: int) -> Verdict:
    """Compare the served answers with the stored readings; times are exact to the microsecond.

    `dropped` are the readings that the gateway's ledger counts as dropped.
    """
    verdict = Verdict(store, sum(len(times) for times in truth.served.values()))
    scans: dict[tuple[int, int], dict[str, Any]] = defaultdict(dict)
    doubtful: set[tuple[int, int]] = set()
    for reading in readings:
        verdict.readings += 1
        if reading.value is None:
            verdict.bad += 1
            if reading.time < truth.off:
                verdict.wrong.append(f"unit {reading.unit} at {reading.time}: {reading.point} is bad")
        elif reading.point in scans[reading.unit, reading.time]:
            verdict.doubled.append(f"unit {reading.unit} at {reading.time}: {reading.point} twice")
        else:
            scans[reading.unit, reading.time][reading.point] = reading.value
            if reading.doubtful:
                doubtful.add((reading.unit, reading.time))
    found: Counter[tuple[int, int]] = Counter()
    for (unit, time), values in scans.items():
        count = _judge_scan(verdict, truth, unit, time, values, doubtful=(unit, time) in doubtful)
        if count is not None:
            found[unit, count] += 1
    verdict.doubled += [f"unit {unit}: answer {count} {n} times" for (unit, count), n in found.items() if n > 1]
    verdict.stored = len(found)
    _judge_missing(verdict, truth, found, dropped)
    return verdict


def _judge_scan(
    verdict: Verdict, truth: Truth, unit: int, time: int, values: Mapping[str, Any], *, doubtful: bool
) -> int | None:
    """Return the number of the answer that a stored scan came from, None where there is no such answer."""
    where = f"unit {unit} at {time}: {dict(values)}"
    if len(values) != POINTS:
        verdict.wrong.append(f"{where} is a part of an answer")
        return None
    count = int(values["count"])
    if not 0 <= count < len(truth.served[unit]):
        verdict.wrong.append(f"{where} was never served")
        return None
    if values["count"] != count or values["check"] != check_of(count) or values["third"] != third_of(count):
        verdict.wrong.append(f"{where} was served otherwise")
    if not truth.may_be_at(unit, count, time, doubtful=doubtful):
        verdict.wrong.append(f"{where} was served at {truth.served[unit][count : count + 2]}")
    return count


def _judge_missing(verdict: Verdict, truth: Truth, found: Counter[tuple[int, int]], dropped: int) -> None:
    missing, betrayed = [], []
    for unit, times in truth.served.items():
        for count, time in enumerate(times):
            if (unit, count) in found:
                continue
            where = f"unit {unit}: answer {count}, served at {time}"
            if (unit, count) in truth.confirmed:
                betrayed.append(f"{where}, confirmed")
            elif (unit, count) in truth.excused:
                verdict.excused += 1
            else:
                missing.append(where)
    verdict.dropped = min(len(missing), -(-dropped // POINTS))
    verdict.lost = [*betrayed, *missing[verdict.dropped :]]
