"""`lineside audit`: who did what, and the proof that nothing of it was changed."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.arguments import MOMENT, span_of, time_text
from gateway.cli.common import CONFIG, DURATION, FORMAT, load, print_json
from gateway.cli.group import CommandGroup
from gateway.cli.output import echo, echo_json
from gateway.cli.progress import Progress
from gateway.common.text import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.audit.verify import Verified

DAY = 86_400.0

MOST_SHOWN = 4
"""Keys of a log that are all shown."""


INGEST = click.option("--ingest", is_flag=True, help="The log of ingest, in place of that of gateway and page.")


@click.group(cls=CommandGroup)
def audit() -> None:
    """Show the audit log, and prove that nothing of it was changed."""


@audit.command()
@CONFIG
@click.option(
    "--key", "keys", multiple=True, metavar="ID", help="Trust this key and its successors only; may be given again."
)
@INGEST
@FORMAT
def verify(config: Path, keys: tuple[str, ...], style: str, *, ingest: bool) -> None:
    """Check each entry, the chain and the signatures of the audit log of CONFIG.

    Exits 1 and names the first entry that was changed, removed, moved or added.
    """
    from gateway.audit.keys import UnusableKey  # noqa: PLC0415 - see gateway.cli
    from gateway.audit.verify import verify as check  # noqa: PLC0415 - see gateway.cli

    folder = _folder(config, ingest=ingest)
    try:
        with Progress(f"reading {folder}") as progress:
            found = check(folder, keys, lambda entries: progress.show(f"{entries:,} entries"))
    except UnusableKey as error:
        raise click.ClickException(str(error)) from None
    if style == "json":
        print_json(_as_dict(folder, found))
    elif found.broken is None:
        signed = f", signed with {_listed(found.keys)}" if found.keys else ""
        echo(f"{folder}: {counted(found.entries, 'entry').replace('entrys', 'entries')} are right{signed}")
    else:
        echo(f"{folder}: {printable(str(found.broken))}", err=True)
    sys.exit(0 if found.broken is None else 1)


def _listed(keys: tuple[str, ...]) -> str:
    """Return the ids of keys, of many the first and the last."""
    return ", ".join(keys) if len(keys) <= MOST_SHOWN else f"{len(keys)} keys, from {keys[0]} to {keys[-1]}"


def _folder(config: Path, *, ingest: bool) -> Path:
    """Return the folder of the audit log of a configuration."""
    factory = load(config)
    return (factory.ingest.audit if ingest else factory.dashboard.audit).folder


def _as_dict(folder: Path, found: Verified) -> dict[str, Any]:
    broken = None if found.broken is None else found.broken._asdict()
    return {"folder": str(folder), "right": broken is None} | found._asdict() | {"broken": broken}


@audit.command()
@CONFIG
@click.option("--last", type=DURATION, help="The entries of this long until now, as in 8h; 1d without --from.")
@click.option("--from", "since", type=MOMENT, help="Entries from this time on, as in 2026-12-01T06:00.")
@click.option("--to", "until", type=MOMENT, help="Entries before this time.")
@click.option("--who", default="*", metavar="PATTERN", help="Only entries of users that match.")
@click.option(
    "--action", "actions", default="*", metavar="PATTERN", help="Only actions that match, such as 'user-*'."
)
@INGEST
@FORMAT
def show(
    config: Path, last: float | None, since: int | None, until: int | None, who: str, actions: str, style: str,
    *, ingest: bool,
) -> None:  # fmt: skip
    """Print entries of the audit log of CONFIG, oldest first; JSON is one entry a line.

    Nothing is verified.
    """
    import orjson  # noqa: PLC0415 - see gateway.cli

    folder = _folder(config, ingest=ingest)
    span = span_of(last, since, until, DAY)
    for entry in _entries(folder):
        if not span.since <= entry["time"] < span.until:
            continue
        if fnmatchcase(entry["who"], who) and fnmatchcase(entry["action"], actions):
            if style == "json":
                echo_json(orjson.dumps(entry))
            else:
                echo(_line(entry))


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries that can be read; others are counted."""
    from gateway.audit.entry import Malformed, parse_line  # noqa: PLC0415 - see gateway.cli
    from gateway.audit.files import log_files  # noqa: PLC0415 - see gateway.cli
    from gateway.audit.verify import read_lines  # noqa: PLC0415 - see gateway.cli

    unreadable = 0
    for file in log_files(folder):
        for line in read_lines(file):
            try:
                yield parse_line(line)
            except Malformed:
                unreadable += 1
    if unreadable:
        text = counted(unreadable, "line")
        echo(f"lineside: {text} could not be read; lineside audit verify names the first", err=True)


def _line(entry: dict[str, Any]) -> str:
    moment = time_text(entry["time"], local=True)
    place = f" from {entry['from']}" if entry["from"] else ""
    change = "" if entry["before"] is None and entry["after"] is None else f"  {_change(entry)}"
    text = f"{moment}  {entry['action']:<16}  {entry['who']}{place}  {entry['object']}{change}  {entry['outcome']}"
    return printable(text)


def _change(entry: dict[str, Any]) -> str:
    before, after = entry["before"], entry["after"]
    return f"{_text(before)} -> {_text(after)}" if before is not None else _text(after)


def _text(value: object) -> str:
    import orjson  # noqa: PLC0415 - see gateway.cli

    return "nothing" if value is None else orjson.dumps(value).decode()
