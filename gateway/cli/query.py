"""`lineside query`: stored readings, or what they amount to in spans of time."""

from __future__ import annotations

import sys
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import click

from drivers.base import Quality
from drivers.extras import require
from gateway.cli.arguments import (
    ARGUMENTS,
    CONFIG_OPTION,
    MOMENT,
    Span,
    span_of,
    split_config,
    time_text,
)
from gateway.cli.common import DURATION, OUTPUT_FILE, load
from gateway.cli.output import echo, echo_data
from gateway.cli.rows import FUNCTIONS, STYLES, bucket_lines, reading_lines
from gateway.cli.selection import opened_store, select
from gateway.common.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.model.reading import Reading
    from gateway.stores.base import Store
    from gateway.stores.buckets import Bucket
    from gateway.stores.series import Series

DEFAULT_LAST = 600.0
"""Seconds back from now without --last and --from."""

DEFAULT_LIMIT = 1000

DEFAULT_FUNCTIONS = ("mean", "min", "max", "count")


class _Output(NamedTuple):
    """How rows are printed, or written to a file."""

    style: str
    out: Path | None
    local: bool
    limit: int | None


@click.command()
@ARGUMENTS
@CONFIG_OPTION
@click.option("--last", type=DURATION, help="How far back from now, as 30s, 10m, 1h, 7d.  [default: 10m]")
@click.option(
    "--from", "since", type=MOMENT, help="From this time, as 2026-11-24T06:00 (local time), or with Z or +08:00."
)
@click.option("--to", "until", type=MOMENT, help="To before this time; without it, to the newest reading.")
@click.option("--newest", is_flag=True, help="Only the last reading of each point, however old it is.")
@click.option("--every", type=DURATION, help="One row for each span of this length, as 1m.")
@click.option(
    "--function", "-f", "functions", multiple=True, type=click.Choice(list(FUNCTIONS)),
    help="What to compute of each span; several are allowed.  [default: mean, min, max, count]",
)  # fmt: skip
@click.option("--good", is_flag=True, help="Only readings of good quality.")
@click.option("--limit", type=click.IntRange(1), help=f"Most rows, the newest.  [default: {DEFAULT_LIMIT}]")
@click.option("--all", "everything", is_flag=True, help="All rows, without a limit.")
@click.option(
    "--everywhere", is_flag=True, help="Points of all sites in the store, not of this factory's site alone."
)
@click.option("--store", "name", help="The store to read, such as sqlite.  [default: the first that can be read]")
@click.option(
    "--format", "style", type=click.Choice([*STYLES, "parquet"]), default="text", show_default=True,
    help="How to print; parquet needs --out.",
)  # fmt: skip
@click.option("--out", type=OUTPUT_FILE, help="Write to this file, not to the terminal.")
@click.option("--local", is_flag=True, help="Times in local time, not in UTC.")
@click.pass_context
def query(
    ctx: click.Context, arguments: tuple[str, ...], config: str | None, last: float | None, since: int | None,
    until: int | None, newest: bool, every: float | None, functions: tuple[str, ...], good: bool, limit: int | None,  # noqa: FBT001 - flags
    everything: bool, everywhere: bool, name: str | None, style: str, out: Path | None, local: bool,  # noqa: FBT001 - flags
) -> None:  # fmt: skip
    """Print stored readings whose point matches a PATTERN, oldest first.

    CONFIG is the factory's YAML. A PATTERN matches the end of enterprise/site/area/line/machine/point, such as
    'press-01/*' or 'bladder_*'; without one, all points match.
    """
    file, patterns = split_config(ctx, arguments, config)
    _check_options(newest=newest, every=every, functions=functions, style=style, out=out, last=last, since=since)
    if limit is not None and everything:
        raise click.UsageError("write either --limit or --all")
    span = span_of(last, since, until, DEFAULT_LAST)
    output = _Output(style, out, local, None if everything else limit or DEFAULT_LIMIT)
    factory = load(file)
    with opened_store(factory, name) as (_, store):
        chosen, warnings = select(factory, store, patterns, everywhere=everywhere)
        for warning in warnings:
            echo(f"lineside: {warning}", err=True)
        if not chosen:
            sys.exit(1)
        if every is not None:
            width = max(1, round(every * 1e6))
            rows = store.reduced(chosen, *span, width, good=good)
            shown = _print_buckets(rows, functions or DEFAULT_FUNCTIONS, output)
        elif newest:
            readings = sorted(store.newest(chosen), key=lambda one: (one.time, str(one.path), one.point))
            shown = _print_readings(
                iter([one for one in readings if not good or one.quality is Quality.GOOD]), output
            )
        else:
            shown = _print_range(store, chosen, span, output, good=good)
        if not shown:
            _explain_nothing(store, chosen, span, newest=newest)


def _check_options(
    *, newest: bool, every: float | None, functions: tuple[str, ...], style: str, out: Path | None,
    last: float | None, since: int | None,
) -> None:  # fmt: skip
    """Raise `click.UsageError` for options that contradict each other."""
    if functions and every is None:
        raise click.UsageError("--function needs --every, as in --every 1m --function max")
    if newest and (every is not None or last is not None or since is not None):
        raise click.UsageError("--newest goes with neither a time nor --every")
    if style == "parquet" and out is None:
        raise click.UsageError("--format parquet needs --out FILE")
    if style == "parquet" and every is not None:
        raise click.UsageError("--format parquet has readings; write --format csv for --every")


def _print_range(store: Store, series: list[Series], span: Span, output: _Output, *, good: bool) -> int:
    """Print the readings of a span, of many the newest; returns how many."""
    if output.limit is None:
        return _print_readings(_good(store.range(series, *span), good), output)
    newest = list(islice(_good(store.range(series, *span, newest_first=True), good), output.limit + 1))
    if len(newest) > output.limit:
        del newest[output.limit :]
        _say_cut(f"the newest {counted(output.limit, 'reading')}")
    return _print_readings(reversed(newest), output)


def _good(readings: Iterator[Reading], good: bool) -> Iterator[Reading]:  # noqa: FBT001 - the option
    return (one for one in readings if one.quality is Quality.GOOD) if good else readings


def _print_readings(readings: Iterator[Reading], output: _Output) -> int:
    if output.style == "parquet" and output.out is not None:
        require("parquet")
        from gateway.export.parquet import write_readings  # noqa: PLC0415 - an extra

        return write_readings(output.out, readings)
    return _print(reading_lines(readings, output.style, local=output.local), output, headed=output.style == "csv")


def _print_buckets(buckets: Iterator[Bucket], functions: tuple[str, ...], output: _Output) -> int:
    rows: Iterable[Bucket] = buckets
    if output.limit is not None:
        kept: deque[Bucket] = deque(maxlen=output.limit)
        total = 0
        for total, bucket in enumerate(buckets, 1):  # noqa: B007 - the last is the number
            kept.append(bucket)
        if total > output.limit:
            _say_cut(f"the newest {counted(output.limit, 'row')} of {total:,}")
        rows = kept
    lines = bucket_lines(rows, functions, output.style, local=output.local)
    return _print(lines, output, headed=output.style in {"csv", "text"})


def _print(lines: Iterator[str], output: _Output, *, headed: bool) -> int:
    """Print lines, and return their number without a heading; a heading alone is printed in CSV only."""
    first = next(lines, None)
    second = next(lines, None) if headed else None
    if first is None or (headed and second is None and output.style == "text"):
        lines = iter(())
        first = None
    count = 0
    file = None if output.out is None else output.out.open("w", encoding="utf-8")
    try:
        for line in (one for part in ((first, second), lines) for one in part if one is not None):
            echo_data(line, file=file)
            count += 1
    finally:
        if file is not None:
            file.close()
    return count - headed if count else 0


def _say_cut(shown: str) -> None:
    echo(f"lineside: cut: {shown}; --limit N or --all prints more", err=True)


def _explain_nothing(store: Store, series: list[Series], span: Span, *, newest: bool) -> None:
    """Say on standard error when the points were stored last, if nothing is in the span."""
    text = "nothing is stored" if newest else "nothing is stored in this time"
    readings = [] if newest else store.newest(series)
    before = [one.time for one in readings if one.time < span.since]
    if before:
        text += f"; the last reading before it is of {time_text(max(before), local=True)}"
    echo(f"lineside: {text}", err=True)
