"""`lineside backup`: an archive of a gateway, to put it back on another box."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from gateway.cli.audited import Said, record
from gateway.cli.common import CONFIG, FORMAT, OUTPUT_FILE, load, print_json
from gateway.cli.output import echo
from gateway.cli.passphrase import PASSPHRASE_STDIN, new_passphrase
from gateway.cli.progress import Progress
from gateway.common.text import counted, printable

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backup.save import Saved


@click.command()
@CONFIG
@click.argument("file", type=OUTPUT_FILE)
@click.option("--secrets", "with_secrets", is_flag=True, help="Save keys and secrets too, encrypted.")
@PASSPHRASE_STDIN
@FORMAT
def backup(config: Path, file: Path, style: str, *, with_secrets: bool, stdin: bool) -> None:
    """Write an archive of the gateway of CONFIG into FILE; the gateway may run meanwhile.

    It contains the spools, the ledger and the state, the files of ingest, the certificates, the users, the audit log,
    and the configuration with its included files and templates. Keys and secrets are in it with --secrets alone. A
    store is not in it: use the tools of the database.
    """
    from gateway.backup.container import BadArchive  # noqa: PLC0415 - see gateway.cli
    from gateway.backup.save import save  # noqa: PLC0415 - see gateway.cli
    from gateway.spool.inspect import NotReadable  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    if stdin and not with_secrets:
        raise click.UsageError("--passphrase-stdin is for --secrets")
    secret = new_passphrase(stdin=stdin) if with_secrets else None
    try:
        with Progress("copying") as progress:
            saved = save(factory, file, secret, progress.show)
    except (BadArchive, NotReadable) as error:
        raise click.ClickException(printable(str(error))) from None
    after = {"file": os.fspath(file.absolute()), "bytes": saved.bytes, "secrets": with_secrets}
    record(factory.dashboard.audit, Said("backup-made", factory.gateway.id, after=after))
    if style == "json":
        print_json({"file": str(file), "bytes": saved.bytes} | saved.manifest.model_dump(mode="json"))
    else:
        _print(saved)


def _print(saved: Saved) -> None:
    manifest = saved.manifest
    records = sum(spool.records for spool in manifest.spools)
    members = counted(len(manifest.members), "file")
    echo(f"{saved.file}: {members}, {saved.bytes / 1e6:,.1f} MB, {counted(records, 'pending record')}")
    for one in manifest.left_out:
        echo(f"  without {printable(one.name)}: {printable(one.reason)}", err=True)
