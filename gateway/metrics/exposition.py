"""Samples as text: the text format of Prometheus (version 0.0.4), or OpenMetrics 1.0 on request.

The client library chooses the format. It does not write the text: it needs some 10 µs for each line, and a text of a
hundred machines would cost as much as reading them for a second. Here the head of a line is made once, and the lines
of all machines are one template for their numbers.
"""

from __future__ import annotations

import asyncio
import math
import sys
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.exposition import choose_encoder

from gateway.metrics.definitions import BUCKETS, DEFINITIONS, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.metrics.definitions import Definition
    from gateway.metrics.samples import Labels, MetricsPart

LINES_AT_ONCE = 1_000
"""Lines after which other threads, and other tasks, have a turn."""

SPARE_HEADS = 10_000
"""Heads of lines that are kept beyond those of the last text, as of machines that were removed."""

_MOST = sys.float_info.max
"""The largest number that is written as Python writes it."""

_Heads = tuple[str, ...]
"""The beginning of each line of a series, up to the number."""


class _Template(NamedTuple):
    """The lines of many series, and the labels that they were made for."""

    labels: tuple[Labels, ...]
    text: str


class Format(NamedTuple):
    """A text format: its media type, and whether it is OpenMetrics."""

    content_type: str
    is_openmetrics: bool


def chosen(accept: str) -> Format:
    """Return the format for a client with this header `Accept`."""
    kind = str(choose_encoder(accept)[1])
    return Format(kind, kind.startswith("application/openmetrics-text"))


class Exposition:
    """Makes texts, and keeps the heads of their lines for the next text."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, tuple[tuple[str, str], ...]], dict[Labels, _Heads]] = {}
        self._templates: dict[tuple[str, tuple[tuple[str, str], ...]], _Template] = {}
        self._headers = {
            (definition.name, is_openmetrics): _header(definition, is_openmetrics=is_openmetrics)
            for definition in DEFINITIONS.values()
            for is_openmetrics in (False, True)
        }

    async def encode(self, parts: Sequence[MetricsPart], form: Format) -> bytes:
        """Return the text of all parts, in the order of the definitions."""
        lines: list[str] = []
        turn = LINES_AT_ONCE
        for name, definition in DEFINITIONS.items():
            having = [part for part in parts if name in part.samples]
            if having:
                lines.append(self._headers[name, form.is_openmetrics])
            for part in having:
                self._add(lines, definition, part)
            if len(lines) > turn:
                turn = len(lines) + LINES_AT_ONCE
                await asyncio.sleep(0)
        if sum(map(len, self._heads.values())) > len(lines) + SPARE_HEADS:
            self._heads.clear()
        lines.append("# EOF\n" if form.is_openmetrics else "")
        return "\n".join(lines).encode()

    def _add(self, lines: list[str], definition: Definition, part: MetricsPart) -> None:
        if (columns := part.samples.columns(definition.name)) is not None:
            lines.append(self._template(definition, part, columns.labels) % tuple(columns.numbers))
        heads = self._heads.setdefault((definition.name, tuple(part.labels.items())), {})
        for labels, numbers in part.samples.rows(definition.name):
            known = heads.get(labels)
            if known is None:
                known = heads[labels] = _make_heads(definition, part.labels, labels)
            if len(known) == 1:  # most lines: a loop would cost as much as the line
                [number] = numbers
                text = str(number) if -_MOST <= number <= _MOST else _not_finite(number)
                lines.append(known[0] + text)
                continue
            for head, number in zip(known, numbers, strict=True):
                text = str(number) if -_MOST <= number <= _MOST else _not_finite(number)
                lines.append(head + text)

    def _template(self, definition: Definition, part: MetricsPart, labels: tuple[Labels, ...]) -> str:
        """Return the lines of many series, with a place for each number."""
        key = definition.name, tuple(part.labels.items())
        known = self._templates.get(key)
        if known is None or known.labels is not labels:
            heads = (head for one in labels for head in _make_heads(definition, part.labels, one))
            text = "\n".join(head.replace("%", "%%") + "%s" for head in heads)
            known = self._templates[key] = _Template(labels, text)
        return known.text


def _not_finite(number: float) -> str:
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"


def _header(definition: Definition, *, is_openmetrics: bool) -> str:
    name = definition.family if is_openmetrics else definition.name
    text = definition.help.replace("\\", r"\\").replace("\n", r"\n")
    if is_openmetrics:
        text = text.replace('"', r"\"")
    found = [f"# HELP {name} {text}", f"# TYPE {name} {definition.kind}"]
    if is_openmetrics and definition.unit:
        found.append(f"# UNIT {name} {definition.unit}")
    return "\n".join(found)


def _make_heads(definition: Definition, common: Mapping[str, str], labels: Labels) -> _Heads:
    """Return the heads of the lines of a series, in the order of its numbers."""
    name = definition.name
    pairs = {**common, **dict(zip(definition.labels, labels, strict=True))}
    plain = _selector(pairs)
    match definition.kind:
        case Kind.SUMMARY:
            return f"{name}_sum{plain} ", f"{name}_count{plain} "
        case Kind.HISTOGRAM:
            bounds = [*map(str, BUCKETS[name]), "+Inf"]
            buckets = (f"{name}_bucket{_selector({**pairs, 'le': bound})} " for bound in bounds)
            return f"{name}_sum{plain} ", f"{name}_count{plain} ", *buckets
    return (f"{name}{plain} ",)


def _selector(pairs: Mapping[str, str]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
