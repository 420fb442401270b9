"""The results of a check, by machines and their points: for people, for programs and for CI."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drivers.base import Quality, Value
    from gateway.model.path import MachinePath


class Severity(StrEnum):
    """The weight of a finding: a wrong point fails the check, a doubtful point needs a look."""

    WRONG = "wrong"
    DOUBT = "doubt"


class Finding(NamedTuple):
    """One thing that is not as it should be. `kind` is a word for programs, `text` says what to do."""

    severity: Severity
    kind: str
    text: str


class Verdict(StrEnum):
    """The verdict on a point, from best to worst."""

    GOOD = "good"
    NOT_SEEN = "not seen"  # an event that did not happen
    DOUBTFUL = "doubtful"
    WRONG = "not good"


@dataclass(slots=True)
class Checked:
    """One point, checked.

    `raw` is the raw value in the device, `where` its place; without a reading, `quality` is missing. `more` are
    further columns by their names.
    """

    name: str
    unit: str = ""
    value: Value | None = None
    quality: Quality | None = None
    reason: str = ""
    code: str = ""
    where: str = ""
    raw: str = ""
    more: dict[str, str | int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The verdict of all findings."""
        severities = {finding.severity for finding in self.findings}
        if Severity.WRONG in severities:
            return Verdict.WRONG
        if Severity.DOUBT in severities:
            return Verdict.DOUBTFUL
        return Verdict.NOT_SEEN if self.quality is None else Verdict.GOOD

    def as_dict(self) -> dict[str, Any]:
        """Return what programs read."""
        return {
            "point": self.name, "verdict": self.verdict.value, "value": self.value, "unit": self.unit,
            "quality": None if self.quality is None else self.quality.value, "reason": self.reason,
            "code": self.code, "where": self.where, "raw": self.raw, **self.more, **_findings(self.findings),
        }  # fmt: skip


@dataclass(slots=True)
class CheckedMachine:
    """One machine, checked. `findings` are of the machine as a whole; where it is absent, its points say the same."""

    path: MachinePath
    template: str
    connection: str
    points: list[Checked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: bool = False

    def of(self, verdict: Verdict) -> list[Checked]:
        """Return the points of which this is the verdict."""
        return [point for point in self.points if point.verdict is verdict]

    @property
    def good(self) -> bool:
        """Whether there is nothing to say about it."""
        fine = {Verdict.GOOD, Verdict.NOT_SEEN}
        return not self.findings and all(point.verdict in fine for point in self.points)

    def as_dict(self) -> dict[str, Any]:
        """Return what programs read."""
        return {
            "machine": str(self.path), "template": self.template, "connection": self.connection,
            "absent": self.absent, "notes": self.notes, **_findings(self.findings),
            "points": [point.as_dict() for point in self.points],
        }  # fmt: skip


@dataclass(slots=True)
class Report:
    """A whole check. `notes` are lines about all of it, `totals` the same for programs."""

    file: str
    seconds: float
    machines: list[CheckedMachine]
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    totals: Mapping[str, Any] = field(default_factory=dict)

    def count(self, verdict: Verdict) -> int:
        """Return of how many points this is the verdict."""
        return sum(len(machine.of(verdict)) for machine in self.machines)

    def all_findings(self) -> Iterator[Finding]:
        """Yield every finding, of all, of machines and of points."""
        yield from self.findings
        for machine in self.machines:
            yield from machine.findings
            for point in machine.points:
                yield from point.findings

    def passed(self, *, strict: bool = False) -> bool:
        """Return whether nothing is wrong; `strict` lets doubts count too."""
        counts = set(Severity) if strict else {Severity.WRONG}
        return not any(finding.severity in counts for finding in self.all_findings())

    def as_dict(self) -> dict[str, Any]:
        """Return what programs read."""
        points = {verdict.name.lower(): self.count(verdict) for verdict in Verdict}
        return {
            "config": self.file, "seconds": round(self.seconds, 1), "passed": self.passed(),
            "points": points, **self.totals, **_findings(self.findings),
            "machines": [machine.as_dict() for machine in self.machines],
        }  # fmt: skip


def wrong(kind: str, text: str) -> Finding:
    """Return a finding that fails the check."""
    return Finding(Severity.WRONG, kind, text)


def doubt(kind: str, text: str) -> Finding:
    """Return a finding that wants a look."""
    return Finding(Severity.DOUBT, kind, text)


def _findings(findings: Sequence[Finding]) -> dict[str, Any]:
    entries = [{"severity": one.severity.value, "kind": one.kind, "text": one.text} for one in findings]
    return {"findings": entries}
