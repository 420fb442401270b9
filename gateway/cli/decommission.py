"""`lineside decommission`: removes a gateway from a box that leaves the plant."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.audited import Said, record
from gateway.cli.common import CONFIG, FORMAT, Unreachable, load, print_json
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.common.text import counted, printable

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backup.decommission import Plan
    from gateway.settings.factory import Factory

MOST_SHOWN = 20
"""Files of one kind that are listed."""


@click.command()
@CONFIG
@click.option("--retained", is_flag=True, help="Clear the retained messages of the gateway at the broker first.")
@click.option("--keep-audit", is_flag=True, help="Leave the audit log.")
@click.option("--list", "only_list", is_flag=True, help="List what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@FORMAT
def decommission(config: Path, style: str, *, retained: bool, keep_audit: bool, only_list: bool, yes: bool) -> None:
    """Overwrite and remove the spool, state, keys, users and secrets of the gateway of CONFIG.

    For a box that leaves the plant: unconfirmed readings are lost. The gateway and the ingest must not run. The
    configuration and the stores stay. What overwriting can't do is said: flash media may keep old content.
    """
    from gateway.backup.decommission import LIMITS, plan, remove, remove_folders  # noqa: PLC0415 - see gateway.cli
    from gateway.backup.running import check_stopped, locked_out  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    own, ingest = factory.gateway, factory.ingest
    found = plan(factory, keep_audit=keep_audit)
    if only_list:
        _list(found, style)
        return
    check_stopped(own.spool.folder, own.id, ingest.folder, ingest.id)
    if not yes:
        _list(found, "text", err=True)
        echo(LIMITS, err=True)
        _warn_of_pending(factory)
        click.confirm(f"Remove {counted(len(found.all_files) + len(found.audit), 'file')}?", abort=True, err=True)
    files = {what: len(those) for what, those in found.files.items()}
    with locked_out(own.spool.folder, own.id), Progress("removing") as progress:
        cleared = _clear(factory) if retained else []
        after = {"files": files, "retained": len(cleared), "audit_log": "kept" if keep_audit else "removed"}
        record(factory.dashboard.audit, Said("decommissioned", own.id, after=after))
        failed = remove(found.all_files, lambda file: progress.show(f"removing {file}"))
        again = plan(factory, keep_audit=keep_audit)  # with the files that this command has made
        failed += remove([*again.all_files, *again.audit], lambda file: progress.show(f"removing {file}"))
        remove_folders(again.folders)
    failed = list(dict.fromkeys(failed))
    if style == "json":
        print_json({"gateway": own.id, "removed": files, "retained": cleared, "failed": failed, "kept": found.kept})
    else:
        echo(
            f"{counted(len(found.all_files) + len(found.audit), 'file')} of gateway {own.id} overwritten and removed"
        )
        for kept in found.kept:
            echo(f"  kept: {printable(kept)}", err=True)
        echo(LIMITS, err=True)
    for one in failed:
        echo(f"lineside: not removed: {printable(one)}", err=True)
    sys.exit(1 if failed else 0)


def _list(found: Plan, style: str, *, err: bool = False) -> None:
    if style == "json":
        kinds = {what: list(map(str, files)) for what, files in found.files.items()}
        print_json({"files": kinds | {"audit log": list(map(str, found.audit))}, "kept": found.kept})
        return
    for what, files in [*found.files.items(), ("audit log", found.audit)]:
        if not files:
            continue
        echo(f"{what}: {counted(len(files), 'file')}", err=err)
        for file in files[:MOST_SHOWN]:
            echo(f"  {printable(str(file))}", err=err)
        if len(files) > MOST_SHOWN:
            echo(f"  and {len(files) - MOST_SHOWN:,} more; --format json lists them", err=err)
    for kept in found.kept:
        echo(f"kept: {printable(kept)}", err=err)


def _warn_of_pending(factory: Factory) -> None:
    from gateway.spool.inspect import NotReadable, inspect  # noqa: PLC0415 - see gateway.cli
    from gateway.spool.siblings import spools_of  # noqa: PLC0415 - see gateway.cli

    readings = 0
    for files in spools_of(factory.gateway.spool.folder, factory.gateway.id):
        try:
            readings += inspect(files).state.readings
        except NotReadable:
            continue
    if readings:
        echo(f"{readings:,} readings wait in the spool and will be lost: start the gateway to send them", err=True)


def _clear(factory: Factory) -> list[str]:
    from gateway.backup.retained import NotCleared, clear_retained  # noqa: PLC0415 - see gateway.cli

    try:
        cleared = asyncio.run(clear_retained(factory))
    except NotCleared as error:
        raise Unreachable(f"{error}; nothing was removed") from None
    for topic in cleared.of_others:
        echo(f"lineside: {printable(topic)} stays: another gateway has the machine", err=True)
    return cleared.topics
