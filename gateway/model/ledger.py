"""The ledger: an account of every reading, and of every scan that was due.

    acquired = unchanged + dropped(by reason) + pending + confirmed
    `due = taken + missed`, per machine

The spool counts `pending` from its records, so the balance is a check and not a definition.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_DROPPED = "dropped:"


@dataclass(slots=True)
class Ledger:
    """The counts of readings of one gateway. `pending` is the number of readings in the spool."""

    acquired: int = 0
    unchanged: int = 0
    confirmed: int = 0
    pending: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, counts: Mapping[str, int], pending: int) -> Self:
        """Return a ledger from the counts that `counts` returns."""
        dropped = {name.removeprefix(_DROPPED): n for name, n in counts.items() if name.startswith(_DROPPED) and n}
        totals = {name: counts.get(name, 0) for name in ("acquired", "unchanged", "confirmed")}
        return cls(**totals, pending=pending, dropped=Counter(dropped))

    def add(self, other: Ledger) -> None:
        """Add the counts of another spool to these."""
        self.acquired += other.acquired
        self.unchanged += other.unchanged
        self.confirmed += other.confirmed
        self.pending += other.pending
        self.dropped.update(other.dropped)

    def counts(self) -> Counter[str]:
        """Return all counts but `pending`, by name, as the spool stores them."""
        counts = Counter({f"{_DROPPED}{reason}": n for reason, n in self.dropped.items()})
        counts.update(acquired=self.acquired, unchanged=self.unchanged, confirmed=self.confirmed)
        return counts

    @property
    def missing(self) -> int:
        """Readings that are not accounted for: 0, or there is an error in Lineside."""
        return self.acquired - self.unchanged - self.confirmed - self.pending - sum(self.dropped.values())

    @property
    def balanced(self) -> bool:
        """Whether every reading is accounted for."""
        return self.missing == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counts in the form of reports and metrics."""
        return {
            "acquired": self.acquired,
            "unchanged": self.unchanged,
            "dropped": dict(self.dropped),
            "pending": self.pending,
            "confirmed": self.confirmed,
        }


@dataclass(slots=True)
class ScheduleCounts:
    """The scans of one machine that were due by its schedule. `taken` includes those that returned only faults.

    A slot is missed if the next one came before its scan could begin. `late` is the delay of a scan after its slot,
    `lasted` its duration; both in seconds, over the acquired scans. Both are appended to `times`, if there is a list,
    which its owner has to empty.
    """

    due: int = 0
    taken: int = 0
    missed: int = 0
    late_sum: float = 0.0
    late_most: float = 0.0
    lasted_sum: float = 0.0
    lasted_most: float = 0.0
    times: list[float] | None = field(default=None, repr=False, compare=False)

    def took(self, late: float, lasted: float) -> None:
        """Count a slot as acquired."""
        self.due += 1
        self.taken += 1
        self.late_sum += late
        self.lasted_sum += lasted
        self.late_most = max(self.late_most, late)
        self.lasted_most = max(self.lasted_most, lasted)
        if self.times is not None:
            self.times += (late, lasted)

    def skipped(self, slots: int) -> None:
        """Count slots as missed."""
        self.due += slots
        self.missed += slots

    def add(self, other: ScheduleCounts) -> None:
        """Add another machine's counts to these."""
        self.due += other.due
        self.taken += other.taken
        self.missed += other.missed
        self.late_sum += other.late_sum
        self.lasted_sum += other.lasted_sum
        self.late_most = max(self.late_most, other.late_most)
        self.lasted_most = max(self.lasted_most, other.lasted_most)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts in the form of reports and metrics; times in milliseconds."""
        taken = max(1, self.taken)
        return {
            "due": self.due,
            "taken": self.taken,
            "missed": self.missed,
            "late_ms": {"mean": _ms(self.late_sum / taken), "most": _ms(self.late_most)},
            "lasted_ms": {"mean": _ms(self.lasted_sum / taken), "most": _ms(self.lasted_most)},
        }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
