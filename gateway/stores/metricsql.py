"""Readings out of VictoriaMetrics: its list of series, its export of samples, and MetricsQL for buckets.

The name of a metric is `<template>_<point>`, and both may contain `_`: the templates of the configuration decide
where to divide, and after them the first `_`. A string is a label beside a 1; `quality_level` has the readings that
are not good.
"""

from __future__ import annotations

import re
from collections import defaultdict
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from drivers.base import Quality
from gateway.model.path import MachinePath
from gateway.model.reading import Reading
from gateway.stores.base import StoreError
from gateway.stores.buckets import MILLISECOND, Bucket, reduce_readings, start_of
from gateway.stores.series import Series, SeriesId, matching, positions
from gateway.stores.windows import MAX_WINDOW, WindowedReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

MAX_SERIES = 64 * 2**20
"""Bytes of an answer with series, or with buckets."""

MAX_NAMES = 200
"""Metrics, or machines, that are named in a selector; of more, all are asked for."""

MAX_STEPS = 5_000
"""Buckets of one series that are computed by one request; the server's limit is 30,000."""

MAX_BUCKETS = 20_000
"""Buckets of all series that are computed by one request."""

FIRST, LAST = 86_400_000_000, 4_000_000_000_000_000
"""Times in microseconds, from the second day of 1970 to 2096: beyond them the server finds nothing."""

QUALITY = "quality_level"

_OURS = ",".join(f'{name}!=""' for name in MachinePath._fields)
"""Selects what Lineside wrote."""

_SUMS = {
    "count": "count_over_time", "total": "sum_over_time", "min": "min_over_time", "max": "max_over_time",
    "first": "first_over_time", "last": "last_over_time",
}  # fmt: skip

_FAULTS = {Quality.UNCERTAIN: "uncertain", Quality.BAD: "bad"}


class _Labels(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    data: list[dict[str, str]]


class _Exported(BaseModel):
    """Samples of one series; a value that is not a number is null or a text."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    metric: dict[str, str]
    values: list[float | str | None]
    timestamps: list[int]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    metric: dict[str, str]
    values: list[tuple[float, str]]


class _Matrix(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    result: list[_Row]


class _Computed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    data: _Matrix


_LABELS, _EXPORTED, _COMPUTED = TypeAdapter(_Labels), TypeAdapter(_Exported), TypeAdapter(_Computed)


class _Key(NamedTuple):
    """The metrics that have the values of a series."""

    names: tuple[str, ...]


class MetricsqlReader(WindowedReader):
    """Reads what Lineside wrote. `ask` sends a form to a path, and returns an answer of so many bytes at most."""

    def __init__(self, ask: Callable[[str, list[tuple[str, str]], int], bytes], templates: Collection[str]) -> None:
        self._ask = ask
        self._templates = sorted(templates, key=len, reverse=True)

    # -- series --

    def series(self, pattern: str) -> list[Series]:
        """Return the series that match a glob. Raises `StoreError`."""
        form = [
            ("match[]", f"{{{_OURS}}}"),
            ("start", _seconds(FIRST // MILLISECOND)),
            ("end", _seconds(LAST // MILLISECOND)),
        ]
        body = self._ask("/api/v1/series", form, MAX_SERIES)
        names: dict[SeriesId, set[str]] = defaultdict(set)
        texts: set[SeriesId] = set()
        for labels in _parsed(_LABELS, body).data:
            name = self._id(labels)
            if name is None:
                continue
            own = names[name]
            if labels.get("__name__") != QUALITY:
                own.add(labels["__name__"])
            if "value" in labels:
                texts.add(name)
        return matching(
            (
                Series(
                    name, "string" if name in texts else "float" if metrics else "", key=_Key(tuple(sorted(metrics)))
                )
                for name, metrics in names.items()
            ),
            pattern,
        )

    def _id(self, labels: dict[str, str]) -> SeriesId | None:
        """Return the series of a metric; None if another program wrote it."""
        levels = [labels.get(level, "") for level in MachinePath._fields]
        metric = labels.get("__name__", "")
        point = labels.get("point", "") if metric == QUALITY else self._point(metric)
        return SeriesId(MachinePath(*levels), point, labels.get("unit", "")) if all(levels) and point else None

    def _point(self, metric: str) -> str:
        for template in self._templates:
            if metric.startswith(f"{template}_"):
                return metric[len(template) + 1 :]
        return metric.partition("_")[2]

    # -- readings --

    def fetch(self, series: Sequence[Series], since: int, until: int) -> tuple[list[Reading], int]:
        """Return the readings of a window; see the contract."""
        places = positions(series)
        first, last = -(-since // MILLISECOND), -(-until // MILLISECOND) - 1
        if last < first:
            return [], 0
        form = [
            ("match[]", f"{{{_selector(series, [*_names(series), QUALITY])}}}"),
            ("start", _seconds(first)), ("end", _seconds(last)),
        ]  # fmt: skip
        body = self._ask("/api/v1/export", form, MAX_WINDOW)
        values: dict[tuple[SeriesId, int], float | str] = {}
        faults: dict[tuple[SeriesId, int], tuple[Quality, str, str, bool]] = {}
        for line in body.splitlines():
            exported = _parsed(_EXPORTED, line)
            labels = exported.metric
            name = self._id(labels)
            if name is None or name not in places or len(exported.values) != len(exported.timestamps):
                continue
            if labels.get("__name__") == QUALITY:
                fault = _quality(labels), labels.get("reason", ""), "", "late" in labels
                faults |= dict.fromkeys(((name, at * MILLISECOND) for at in exported.timestamps), fault)
                continue
            for value, at in zip(exported.values, exported.timestamps, strict=True):
                if isinstance(value, float) and first <= at <= last:
                    values[name, at * MILLISECOND] = labels.get("value", value)
        readings = []
        for (name, time), value in values.items():
            fault = faults.pop((name, time), (Quality.GOOD, "", "", False))
            readings.append(Reading(name.path, name.point, time, value, name.unit, *fault))
        readings += [
            Reading(name.path, name.point, time, None, name.unit, *fault)
            for (name, time), fault in faults.items()
            if fault[0] is Quality.BAD
        ]
        return readings, len(body)

    # -- buckets --

    def reduced(
        self, series: Sequence[Series], since: int, until: int, width: int, *, good: bool
    ) -> Iterator[Bucket]:
        """Yield the buckets of a range; see the contract."""
        since, until = self._filled(series, max(since, FIRST), min(until, LAST))
        numbers = [one for one in series if one.type == "float" and not good and width % MILLISECOND == 0]
        others = [one for one in series if one not in set(numbers)]
        order = positions(series)
        step = max(1, min(MAX_STEPS, MAX_BUCKETS // max(1, len(series)))) * width
        while since < until:
            end = min(until, start_of(since, width) + step)
            buckets: list[Bucket] = []
            # the server computes whole buckets; those at the ends of the range may be in part beyond it
            low, high = start_of(since + width - 1, width), start_of(end, width)
            if numbers and low < high:
                buckets += self._numbers(numbers, low, high, width)
                parts = [(since, low), (high, end)]
            else:
                parts = [(since, end)]
            for begin, stop in parts:
                if numbers and begin < stop:
                    buckets += reduce_readings(self.range(numbers, begin, stop, newest_first=False), numbers, width)
            if others:
                buckets += reduce_readings(
                    self.range(others, since, end, newest_first=False), others, width, good=good
                )  # fmt: skip
            yield from sorted(buckets, key=lambda one: (one.start, order[one.series.id]))
            since = end

    def _filled(self, series: Sequence[Series], since: int, until: int) -> tuple[int, int]:
        """Return the part of a range that has samples of a series."""
        if not series or until <= since:
            return since, since
        selector = _selector(series, [*_names(series), QUALITY])
        span = -(-(until - since) // MILLISECOND) + 1  # a window begins after its first time
        ends = []
        for function in ("min(tfirst_over_time", "max(tlast_over_time"):
            form = [
                ("query", f"{function}({{{selector}}}[{span}ms]))"),
                ("time", _seconds(until // MILLISECOND)), ("nocache", "1"),
            ]  # fmt: skip
            found = _parsed(_MOMENT, self._ask("/api/v1/query", form, MAX_SERIES)).data.result
            ends += [round(float(row.value[1]) * 1e6) for row in found]
        low, high = (min(ends), max(ends) + MILLISECOND) if ends else (since, since)
        return max(since, low), min(until, high)

    def _numbers(self, series: Sequence[Series], since: int, until: int, width: int) -> list[Bucket]:
        """Return whole buckets of numbers, in any order, which the server computes."""
        named = {one.id: one for one in series}
        window = f"[{width // MILLISECOND}ms]"
        selected = f"{{{_selector(series, _names(series))}}}{window}"
        parts = [
            f'label_set({function}({selected}) keep_metric_names, "lineside", "{sum_}")'
            for sum_, function in _SUMS.items()
        ]
        selected = f"{{{_selector(series, [QUALITY])}}}{window}"
        parts.append(f'label_set(count_over_time({selected}) keep_metric_names, "lineside", "faults")')
        # a window ends with, and does not begin with, the time it is computed for
        form = [
            ("query", f"union({', '.join(parts)})"), ("step", f"{width // MILLISECOND}ms"), ("nocache", "1"),
            ("start", _seconds((since + width) // MILLISECOND - 1)), ("end", _seconds(until // MILLISECOND - 1)),
        ]  # fmt: skip
        body = self._ask("/api/v1/query_range", form, MAX_SERIES)
        sums: dict[tuple[SeriesId, int], dict[str, float]] = defaultdict(dict)
        for row in _parsed(_COMPUTED, body).data.result:
            name = self._id(row.metric)
            if name is None or name not in named:
                continue
            sum_ = row.metric.get("lineside", "")
            if sum_ == "faults":
                sum_ = _FAULTS.get(_quality(row.metric), "")
            for seconds, text in row.values:
                start = (round(seconds * 1000) + 1) * MILLISECOND - width
                value = float(text)
                if not isfinite(value):
                    continue
                known = sums[name, start]
                known[sum_] = known.get(sum_, 0.0) + value if sum_ in {"uncertain", "bad"} else value
        return [_bucket(named[name], start, found) for (name, start), found in sums.items() if _counts(found)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    value: tuple[float, str]


class _Vector(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    result: list[_Value]


class _Moment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    data: _Vector


_MOMENT = TypeAdapter(_Moment)


def _counts(sums: dict[str, float]) -> bool:
    return any(sums.get(name) for name in ("count", "uncertain", "bad"))


def _bucket(series: Series, start: int, sums: dict[str, float]) -> Bucket:
    uncertain, bad = round(sums.get("uncertain", 0)), round(sums.get("bad", 0))
    if not sums.get("count"):
        return Bucket(series, start, 0, None, None, None, None, None, uncertain, bad)
    total, low, high, first, last = (sums.get(name) for name in ("total", "min", "max", "first", "last"))
    return Bucket(series, start, round(sums["count"]), total, low, high, first, last, uncertain, bad)


def _parsed(adapter: TypeAdapter[Any], body: bytes) -> Any:  # noqa: ANN401 - the adapter's
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        text = f"the server's answer is not one of VictoriaMetrics: {place}: {problem['msg']}"
        raise StoreError(text) from None


def _quality(labels: dict[str, str]) -> Quality:
    try:
        return Quality(labels.get("quality", ""))
    except ValueError:
        return Quality.BAD


def _names(series: Iterable[Series]) -> list[str]:
    """Return the names of the metrics that have the values of series."""
    keys: list[Any] = [one.key for one in series]
    return sorted({name for key in keys for name in key.names})


def _selector(series: Iterable[Series], names: Sequence[str]) -> str:
    """Return a selector of metrics of these names and of the machines of series: of too many, of all."""
    parts = []
    if len(names) <= MAX_NAMES:
        parts.append(f"__name__=~{_any(names)}")
    paths = {one.id.path for one in series}
    for level in MachinePath._fields:
        values = sorted({getattr(path, level) for path in paths})
        parts.append(f"{level}=~{_any(values)}" if len(values) <= MAX_NAMES else f'{level}!=""')
    return ",".join(parts)


def _any(texts: Iterable[str]) -> str:
    """Return a quoted regular expression of RE2 that matches these texts alone."""
    pattern = "|".join(map(_literal, texts))
    escaped = pattern.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_SYNTAX = re.compile(r"[\\.+*?()|\[\]{}^$]")


def _literal(text: str) -> str:
    return _SYNTAX.sub(lambda match: f"\\{match[0]}", text)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
