"""`lineside backup`: an archive of a gateway, to put it back on another box."""

from __future__ import annotations

import os
import pathlib
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

    from gateway.backup.encrypted import Lock
    from gateway.backup.save import Saved
    from gateway.settings.factory import Factory


@click.command()
@CONFIG
@click.argument("file", type=OUTPUT_FILE)
@click.option("--secrets", "with_secrets", is_flag=True, help="Save keys and secrets too, encrypted.")
@click.option("--encrypt", is_flag=True, help="Encrypt the whole archive, with a passphrase.")
@click.option(
    "--recipient", type=click.Path(dir_okay=False, exists=True, path_type=pathlib.Path), metavar="FILE",
    help="Encrypt the whole archive for a public key of X25519: no secret to open it is on this box.",
)  # fmt: skip
@PASSPHRASE_STDIN
@FORMAT
def backup(
    config: Path, file: Path, style: str, recipient: Path | None, *, with_secrets: bool, encrypt: bool, stdin: bool
) -> None:
    """Write an archive of the gateway of CONFIG into FILE; the gateway may run meanwhile.

    It contains the spools, the ledger and the state, the files of ingest, the certificates, the users, the audit log,
    and the configuration with its included files and templates. Keys and secrets are in it with --secrets alone,
    encrypted; --encrypt and --recipient encrypt all of it. A store is not in it: use the tools of the database.
    """
    from gateway.backup.container import BadArchive  # noqa: PLC0415 - see gateway.cli
    from gateway.backup.save import save  # noqa: PLC0415 - see gateway.cli
    from gateway.spool.inspect import NotReadable  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    if stdin and not (with_secrets or encrypt):
        raise click.UsageError("--passphrase-stdin is for --secrets and --encrypt")
    if encrypt and recipient is not None:
        raise click.UsageError("--encrypt and --recipient are two ways to encrypt; write one")
    lock: Lock | None = None if recipient is None else _recipient(recipient)
    if lock is None and not encrypt:
        _check_target(factory, file)
    secret = new_passphrase(stdin=stdin) if with_secrets or encrypt else None
    try:
        with Progress("copying") as progress:
            saved = save(factory, file, secret if with_secrets else None, progress.show, secret if encrypt else lock)
    except (BadArchive, NotReadable) as error:
        raise click.ClickException(printable(str(error))) from None
    after = {
        "file": os.fspath(file.absolute()),
        "bytes": saved.bytes,
        "secrets": with_secrets,
        "encrypted": encrypt or recipient is not None,
    }
    record(factory.dashboard.audit, Said("backup-made", factory.gateway.id, after=after))
    if style == "json":
        print_json({"file": str(file), "bytes": saved.bytes} | saved.manifest.model_dump(mode="json"))
    else:
        _print(saved)


def _recipient(file: Path) -> Lock:
    from gateway.backup.encrypted import UnusableKey, recipient_of  # noqa: PLC0415 - see gateway.cli

    try:
        return recipient_of(file)
    except UnusableKey as error:
        raise click.ClickException(printable(str(error))) from None


def _check_target(factory: Factory, file: Path) -> None:
    """Refuse an archive in the clear on storage without encryption where that is required; warn where expected."""
    from gateway.settings.storage_section import Encrypted  # noqa: PLC0415 - see gateway.cli
    from gateway.storage.folder import verdict_of_folder  # noqa: PLC0415 - see gateway.cli

    demanded = factory.storage.encrypted
    if demanded is Encrypted.REPORTED:
        return
    found = verdict_of_folder(file.absolute().parent, factory.storage.encrypted_by_plant)
    if found.protected:
        return
    text = (
        f"storage.encrypted is {demanded}, and {file} would be in the clear on {found.device}, {found.why}; write "
        "--encrypt or --recipient FILE"
    )
    if demanded is Encrypted.REQUIRED:
        raise click.ClickException(printable(text))
    echo(f"lineside: {printable(text)}", err=True)


def _print(saved: Saved) -> None:
    manifest = saved.manifest
    records = sum(spool.records for spool in manifest.spools)
    members = counted(len(manifest.members), "file")
    echo(f"{saved.file}: {members}, {saved.bytes / 1e6:,.1f} MB, {counted(records, 'pending record')}")
    for one in manifest.left_out:
        echo(f"  without {printable(one.name)}: {printable(one.reason)}", err=True)
