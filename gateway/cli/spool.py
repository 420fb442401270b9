"""`lineside spool`: shows the records that wait on an edge box, and those that were set aside."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gateway.cli.common import CONFIG, FORMAT, OUTPUT_FILE, load, print_json
from gateway.cli.group import CommandGroup
from gateway.cli.output import echo, echo_json
from gateway.cli.progress import Progress
from gateway.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.settings.sections import GatewaySection
    from gateway.spool.files import Row, SpoolFiles


@click.group(cls=CommandGroup)
def spool() -> None:
    """Show, export and take over the records that wait on this box."""


@spool.command()
@CONFIG
@FORMAT
def status(config: Path, style: str) -> None:
    """Print how much waits in the spool of CONFIG, since when, and what was damaged; exit 1 if it is damaged now."""
    from gateway.spool.inspect import NotReadable, inspect  # noqa: PLC0415 - see gateway.cli
    from gateway.status.spool import spool_report  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    try:
        found = [(files, inspect(files)) for files in _all_files(factory)]
    except NotReadable as error:
        _fail(str(error))
    reports = [spool_report(factory.gateway, files, one) for files, one in found]
    if style == "json":
        print_json(reports[0] | ({"workers": reports[1:]} if reports[1:] else {}))
    else:
        for report in reports:
            _print_status(report, factory.gateway)
    if damage := [one.damage for _, one in found if one.damage]:
        _fail(f"the database is damaged: {damage[0]}; the gateway repairs it, at the latest when it starts")


@spool.command()
@CONFIG
@click.option("--out", type=OUTPUT_FILE, help="Write to this file instead of standard output.")
def export(config: Path, out: Path | None) -> None:
    """Write the records that wait in the spool of CONFIG as JSON lines, oldest first.

    The records stay where they are.
    """
    import orjson  # noqa: PLC0415 - see gateway.cli

    from gateway.spool.inspect import NotReadable, records  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    count = damaged = 0
    try:
        with click.open_file("-" if out is None else os.fspath(out), "wb") as file, Progress() as progress:
            for row in (row for files in _all_files(factory) for row in records(files)):
                file.write(orjson.dumps(_record(row), default=_as_json, option=orjson.OPT_APPEND_NEWLINE))
                count += 1
                damaged += not row.is_right
                progress.show(f"{count:,} records written" if out is not None else "")
    except NotReadable as error:
        _fail(str(error))
    echo(f"{count} records" + (f", {damaged} of them damaged" if damaged else ""), err=True)


@spool.command()
@CONFIG
@click.option("--from", "other", required=True, help="The id that the gateway had before.")
@FORMAT
def adopt(config: Path, other: str, style: str) -> None:
    """Take over the records that wait in the spool of another gateway id in the folder of CONFIG.

    For a gateway whose id was changed while records waited. Neither gateway may be running. A record leaves the old
    spool when it is durable in the new spool; an interrupted command may be run again.
    """
    import sqlite3  # noqa: PLC0415 - see gateway.cli

    from gateway.acquisition.metadata_adoption import adopt_metadata  # noqa: PLC0415 - see gateway.cli
    from gateway.codecs import CODECS  # noqa: PLC0415 - see gateway.cli
    from gateway.spool import adopt as adoption  # noqa: PLC0415 - see gateway.cli
    from gateway.spool.inspect import NotReadable  # noqa: PLC0415 - see gateway.cli

    own = load(config).gateway
    if other == own.id:
        _fail(f"{other} is the id of this gateway: name the id that it had before")
    if not other or "/" in other:
        _fail(f"{other!r} is not the id of a gateway")
    folder = own.spool.folder
    try:
        with Progress(f"opening the spool of {other}") as progress:
            moved = adoption.adopt(
                own.spool, own.id, other, CODECS[own.codec], lambda: adopt_metadata(folder, own.id, other),
                lambda done, all_: progress.count(done, all_, "records adopted"),
            )  # fmt: skip
    except NotReadable as error:
        others = ", ".join(found.gateway for found in adoption.other_spools(folder, own.id)) or "none"
        _fail(f"{error}; records of other gateways wait here: {others}")
    except (OSError, sqlite3.Error) as error:
        _fail(f"{error}; mend this, then run the command again: moved records have arrived")
    if style == "json":
        print_json({"gateway": own.id, "from": other} | moved._asdict())
    else:
        echo(f"{moved.records:,} records, {moved.readings:,} readings of {other} are now records of {own.id}")
    if moved.undecodable:
        echo(f"{moved.undecodable:,} records can't be decoded, and stay with {other}", err=True)
    if moved.no_room:
        echo(f"{moved.no_room:,} records stay with {other}: gateway.spool.max_size is reached", err=True)
    if moved.undecodable or moved.no_room:
        sys.exit(1)


@spool.command("dead-letters")
@CONFIG
@FORMAT
def dead_letters(config: Path, style: str) -> None:
    """List the records that the gateway and the ingest of CONFIG have set aside, oldest first, with the reasons."""
    factory = load(config)
    with Progress("reading the files of set-aside records"):
        letters = sorted(_letters(factory), key=lambda entry: str(entry.get("time", "")))
    if style == "json":
        import orjson  # noqa: PLC0415 - see gateway.cli

        for entry in letters:
            echo_json(orjson.dumps(entry))
        return
    for entry in letters:
        size = entry.get("cut_from") or _length(entry)
        time = str(entry.get("time", ""))[:19]
        why = printable(f"{entry.get('topic', '')}: {entry.get('reason', '')}")
        echo(f"{time:<19}  {entry['by']:<8} {size:>9,} bytes  {why}")
    echo(f"{len(letters)} set aside", err=True)


def _all_files(factory: Factory) -> list[SpoolFiles]:
    """Return the spool of the gateway, and those of its workers."""
    from gateway.spool.siblings import spools_of  # noqa: PLC0415 - see gateway.cli

    return spools_of(factory.gateway.spool.folder, factory.gateway.id)


def _fail(text: str) -> NoReturn:
    echo(f"lineside: {text}", err=True)
    sys.exit(1)


def _print_status(report: dict[str, Any], own: GatewaySection) -> None:
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in sorted(report["dropped"].items()))
    room = f"at the most {_size(report['max_size'])}, and {_size(report['slack'])} beside"
    lines = [
        ("spool", f"{report['spool']} of {own.id}: {report['file']}"),
        ("waiting", f"{report['records']:,} records, {report['readings']:,} readings, {_size(report['bytes'])}"),
        ("oldest", _named(report["oldest"])),
        ("newest", _named(report["newest"])),
        ("on disk", f"{_size(report['on_disk'])}; {room}"),
        ("when full", report["when_full"]),
        ("dropped", dropped or "nothing"),
        ("set aside", ", ".join(f"{n} in {file}" for file, n in report["set_aside"].items() if n) or "nothing"),
        *(("damaged", file) for file in report["damaged_databases"]),
        *(("elsewhere", _waiting_elsewhere(other)) for other in report["other_gateways"]),
    ]
    for name, text in lines:
        echo(f"{name:<11}{text}")


def _waiting_elsewhere(other: dict[str, Any]) -> str:
    waiting = f"{other['records']:,} records, {other['readings']:,} readings of gateway {other['gateway']}"
    return f"{waiting}: take them over with lineside spool adopt CONFIG --from {other['gateway']}"


def _named(end: dict[str, Any] | None) -> str:
    return "-" if end is None else f"record {end['seq']:,}, {end['time'] or 'which is damaged'}"


def _size(bytes_: int) -> str:
    return f"{bytes_ / 1e6:,.1f} MB"


def _record(row: Row) -> dict[str, Any]:
    """Return a record to be read by people; a payload that can't be decoded is given as its bytes."""
    import base64  # noqa: PLC0415 - see gateway.cli

    from gateway.codecs import Undecodable, decode  # noqa: PLC0415 - see gateway.cli

    entry: dict[str, Any] = {"seq": row.seq, "topic": row.topic, "readings": row.readings}
    reason = "its checksum is wrong"
    if row.is_right:
        try:
            return entry | {"record": decode(row.payload)}
        except Undecodable as error:
            reason = str(error)
    payload = row.payload if isinstance(row.payload, bytes) else str(row.payload).encode()
    return entry | {"damaged": reason, "base64": base64.b64encode(payload).decode()}


def _as_json(value: object) -> object:
    """Return the parts of a record that are not of JSON."""
    from gateway.model.path import MachinePath  # noqa: PLC0415 - see gateway.cli
    from gateway.model.reading import NamedScan  # noqa: PLC0415 - see gateway.cli

    if isinstance(value, NamedScan):
        return value.as_dict()
    if isinstance(value, MachinePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} in a record")


def _letters(factory: Factory) -> Iterator[dict[str, Any]]:
    """Yield the entries that were set aside, with the service that did it. Raises `OSError`."""
    from gateway.common.dead_letters import ingest_letters, read_letters  # noqa: PLC0415 - see gateway.cli

    for by, file in (
        *(("gateway", files.letters) for files in _all_files(factory)),
        ("ingest", ingest_letters(factory.ingest.folder, factory.ingest.id)),
    ):
        for entry in read_letters(file):
            yield {"by": by} | entry


def _length(entry: dict[str, Any]) -> int:
    """Return the number of bytes that were set aside in an entry."""
    import base64  # noqa: PLC0415 - see gateway.cli

    if "base64" in entry:
        return len(base64.b64decode(entry["base64"]))
    return len(str(entry.get("payload", "")).encode())
