"""A check's report for a terminal, wide or narrow: the totals, then the points that are not good.

The lines have colours, so texts of devices and files are made printable here, not where the lines are printed.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import click

from gateway.check.flags import shown
from gateway.check.results import Severity, Verdict
from gateway.common.text import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.check.results import Checked, CheckedMachine, Finding, Report

COLOURS = {Verdict.GOOD: "green", Verdict.NOT_SEEN: "bright_black", Verdict.DOUBTFUL: "yellow", Verdict.WRONG: "red"}
WEIGHTS = {Severity.WRONG: "red", Severity.DOUBT: "yellow"}

WIDEST = 32
"""Characters of a cell; longer cells are cut, and are whole in the JSON."""

NARROWEST = 40
"""Columns of a terminal, at the least: in fewer nothing can be read."""

_INDENT = " " * (2 + max(len(verdict.value) for verdict in Verdict) + 2)


def lines(report: Report, width: int, *, every_point: bool) -> Iterator[str]:
    """Yield the lines of a report for a terminal of so many columns; `every_point` shows what is good, too."""
    width = max(NARROWEST, width)
    yield from _summary(report, width)
    if every_point:
        alike = [[machine] for machine in report.machines]
    else:
        alike = _alike(machine for machine in report.machines if not machine.good)
    for first, *others in alike:
        yield ""
        yield from _machine(first, width, every_point=every_point)
        if others:
            names = ", ".join(f"{one.path.line}/{one.path.machine}" for one in others)
            yield from _wrapped(f"likewise {counted(len(others), 'more machine')}: {names}", "  ", width)


def _alike(machines: Iterable[CheckedMachine]) -> list[list[CheckedMachine]]:
    """Return machines of which the same is to be said together: a template's mistake is one, on however many."""
    found: dict[object, list[CheckedMachine]] = {}
    for machine in machines:
        odd = [(point.name, _said(point.findings)) for point in machine.points if point.findings]
        found.setdefault((machine.template, _said(machine.findings), repr(odd)), []).append(machine)
    return list(found.values())


def _said(findings: Iterable[Finding]) -> str:
    """Return a text without its numbers, which differ between machines."""
    return " ".join(re.sub(r"-?\d[\w.+]*", "#", finding.text) for finding in findings)


def _summary(report: Report, width: int) -> Iterator[str]:
    points = sum(len(machine.points) for machine in report.machines)
    counts = [
        click.style(f"{n:,} {verdict.value}", fg=COLOURS[verdict])
        for verdict in Verdict
        if (n := report.count(verdict)) or verdict is Verdict.GOOD
    ]
    size = f"{counted(len(report.machines), 'machine')}, {counted(points, 'point')}"
    yield f"{printable(str(report.file))}: {size}: {', '.join(counts)}"
    if absent := sum(machine.absent for machine in report.machines):
        yield click.style(f"{counted(absent, 'machine')} not there", fg="red")
    for note in (*report.notes, f"took {report.seconds:.1f} s"):
        yield from _wrapped(note, "", width)
    yield from _findings(report.findings, "", width)


def _machine(machine: CheckedMachine, width: int, *, every_point: bool) -> Iterator[str]:
    name = printable(f"{machine.path.line}/{machine.path.machine}")
    rest = _cut(f"   {machine.template}   {machine.connection}", width - len(name))
    yield click.style(name, bold=True) + rest
    yield from _findings(machine.findings, "  ", width)
    if every_point:
        for note in machine.notes:
            yield from _wrapped(note, "  ", width)
    if machine.absent:
        return
    chosen = [one for one in machine.points if every_point or one.verdict in {Verdict.WRONG, Verdict.DOUBTFUL}]
    table = _Table(chosen, width)
    for point in chosen:
        yield from table.lines(point)
    if chosen and (rest_ := len(machine.points) - len(chosen)):
        yield click.style(f"  and {counted(rest_, 'point')} more, good", fg="bright_black")


class _Table:
    """Points in columns, a line each where that fits, else two."""

    def __init__(self, points: Sequence[Checked], width: int) -> None:
        self._width = width
        cells = [_cells(point) for point in points]
        self._columns = [max((len(row[i]) for row in cells), default=0) for i in range(4)]
        self._in_one = all(len(self._whole(point)) <= width - len(_INDENT) for point in points)

    def lines(self, point: Checked) -> Iterator[str]:
        """Yield the lines of one point, and what was found about it."""
        verdict = click.style(f"  {point.verdict.value:<{len(_INDENT) - 2}}", fg=COLOURS[point.verdict])
        if self._in_one:
            yield verdict + self._whole(point)
        else:
            yield verdict + self._name(point)
            where, raw = _cells(point)[2:]
            yield from _wrapped(_joined(where, raw, *_behind(point)), _INDENT, self._width, fg="bright_black")
        yield from _findings(point.findings, _INDENT, self._width)

    def _name(self, point: Checked) -> str:
        name, value, _, _ = _cells(point)
        return f"{name:<{self._columns[0]}}  {value:>{self._columns[1]}}"

    def _whole(self, point: Checked) -> str:
        placed = zip(_cells(point)[2:], self._columns[2:], strict=True)
        padded = (f"{cell:<{size}}" for cell, size in placed if size)
        return _joined(self._name(point), *padded, *_behind(point)).rstrip()


def _cells(point: Checked) -> tuple[str, ...]:
    """Return name, value, place and raw content."""
    return tuple(_cut(cell, WIDEST) for cell in (point.name, shown(point.value, point.unit), point.where, point.raw))


def _behind(point: Checked) -> list[str]:
    """Return quality, and what else there is to see."""
    quality = " ".join(word for word in (point.quality or "", point.reason) if word)
    return [printable(one) for one in (quality, *(f"{key} {value}" for key, value in point.more.items()))]


def _joined(*cells: str) -> str:
    return "  ".join(cell for cell in cells if cell)


def _findings(findings: Iterable[Finding], indent: str, width: int) -> Iterator[str]:
    for finding in findings:
        for line in finding.text.splitlines():
            yield from _wrapped(line, indent, width, fg=WEIGHTS[finding.severity])


def _wrapped(text: str, indent: str, width: int, fg: str | None = None) -> Iterator[str]:
    wrapped = textwrap.wrap(
        printable(text), width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )
    for line in wrapped:
        yield click.style(line, fg=fg) if fg else line


def _cut(text: str, width: int) -> str:
    text = printable(text)
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"
