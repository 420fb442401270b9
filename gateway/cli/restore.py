"""`lineside restore`: a gateway from its archive."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.audited import Said, record
from gateway.cli.common import FORMAT, OUTPUT_FOLDER, print_json
from gateway.cli.output import echo
from gateway.cli.passphrase import PASSPHRASE_STDIN, passphrase
from gateway.cli.progress import Progress
from gateway.common.text import counted, printable

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backup.encrypted import Unlock
    from gateway.backup.restore import Restore, Restored

MOST_SHOWN = 20
"""Files in the way that are listed."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=pathlib.Path))
@click.option("--into", type=OUTPUT_FOLDER, default="/", help="Put all folders below this folder, in place of /.")
@click.option("--secrets", "secrets_", type=OUTPUT_FOLDER, help="Write the named secrets into files of this folder.")
@PASSPHRASE_STDIN
@click.option(
    "--key", type=click.Path(dir_okay=False, exists=True, path_type=pathlib.Path), metavar="FILE",
    help="The private key for whose public key the archive is encrypted.",
)  # fmt: skip
@click.option("--with-keys", is_flag=True, help="Restore keys and secrets too; the passphrase is asked for.")
@click.option("--replace", is_flag=True, help="Replace files that are there already and differ.")
@click.option("--check", "only_check", is_flag=True, help="Check the archive and this box, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@FORMAT
def restore(
    file: Path, into: Path, secrets_: Path | None, style: str, key: Path | None, *,
    with_keys: bool, replace: bool, only_check: bool, yes: bool, stdin: bool,
) -> None:  # fmt: skip
    """Put the gateway back whose archive FILE is.

    Everything is checked before anything changes: hashes, names and sizes, the room on the disk, and that neither
    gateway nor ingest runs. The records that waited when the archive was made are sent again, and a store keeps each
    reading once. The spool gets another name, so that no number is used twice.
    """
    from gateway.backup.container import BadArchive  # noqa: PLC0415 - see gateway.cli
    from gateway.backup.restore import InTheWay, Options, Restore  # noqa: PLC0415 - see gateway.cli
    from gateway.backup.sealed import WrongPassphrase  # noqa: PLC0415 - see gateway.cli

    try:
        by_passphrase = _by_passphrase(file)
        with_sealed = with_keys or secrets_ is not None or (stdin and not by_passphrase)
        secret = passphrase(stdin=stdin) if with_sealed or by_passphrase else None
        unlock = secret if by_passphrase else None if key is None else _private_key(key)
        folder = None if secrets_ is None else secrets_.absolute()
        options = Options(into.absolute(), folder, secret if with_sealed else None, replace, unlock)
        with Progress(f"checking {file}") as progress:
            one = Restore(file, options, progress.show)
        with one:
            with progress:
                one.check()
            if only_check:
                _print_checked(one, style)
                return
            if not yes:
                _ask(one)
            done = one.apply()
    except (BadArchive, WrongPassphrase) as error:
        raise click.ClickException(printable(str(error))) from None
    except InTheWay as error:
        listed = "".join(f"\n  {printable(str(found))}" for found in error.files[:MOST_SHOWN])
        raise click.ClickException(
            f"{counted(len(error.files), 'file')} would be replaced; look at them, then write --replace:{listed}"
        ) from None
    _record(one, done, into)
    _print(one, done, style, _refusals(one.config) if into == pathlib.Path("/") else [])


def _by_passphrase(file: Path) -> bool:
    """Return whether a passphrase opens an archive. Raises `BadArchive`."""
    from gateway.backup.restore import header_of  # noqa: PLC0415 - see gateway.cli

    header = header_of(file)
    return header is not None and header.needs_passphrase


def _private_key(file: Path) -> Unlock:
    from gateway.backup.encrypted import UnusableKey, private_key_of  # noqa: PLC0415 - see gateway.cli

    try:
        return private_key_of(file)
    except UnusableKey as error:
        raise click.ClickException(printable(str(error))) from None


def _ask(one: Restore) -> None:
    echo(_head(one), err=True)
    for section in one.manifest.folders:
        echo(f"  {section:<14} {printable(str(one.folder(section)))}", err=True)
    click.confirm(f"Write {counted(len(one.planned), 'file')}?", abort=True, err=True)


def _head(one: Restore) -> str:
    manifest = one.manifest
    return printable(f"gateway {manifest.gateway}, saved {manifest.time} on {manifest.host} by {manifest.made_by}")


def _record(one: Restore, done: Restored, into: Path) -> None:
    """Record the restore in the audit log of the restored gateway, as its configuration has it if that loads."""
    from gateway.backup.places import AUDIT  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.audit_section import AuditSection  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.load import load_factory  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.problems import ConfigurationError  # noqa: PLC0415 - see gateway.cli

    section = AuditSection.model_validate({"folder": one.folder(AUDIT)})
    if into == pathlib.Path("/"):
        try:
            section = load_factory(one.config).dashboard.audit
        except ConfigurationError as error:
            echo(f"lineside: the configuration does not load here: {error.problems[0]}", err=True)
    spools = {part: copied.spool for part, copied in done.spools.items()}
    record(section, Said("backup-restored", one.manifest.gateway, after=_summary(one) | {"spools": spools}))


def _summary(one: Restore) -> dict[str, Any]:
    manifest = one.manifest
    return {"saved": manifest.time, "host": manifest.host, "made_by": manifest.made_by, "files": len(one.planned)}


def _print_checked(one: Restore, style: str) -> None:
    if style == "json":
        print_json({"gateway": one.manifest.gateway} | _summary(one) | {"targets": list(map(str, one.planned))})
        return
    echo(_head(one))
    echo(f"the archive is whole; it would write {counted(len(one.planned), 'file')}")


def _refusals(config: Path) -> list[str]:
    """Return why the gateway would not trust a restored configuration: it may be older than that of this machine."""
    from gateway.settings.load import load_factory  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.policy import Untrusted  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.problems import ConfigurationError  # noqa: PLC0415 - see gateway.cli
    from gateway.settings.signature_memory import Service  # noqa: PLC0415 - see gateway.cli

    try:
        load_factory(config, service=Service.GATEWAY)
    except Untrusted as error:
        return [printable(str(problem)) for problem in error.problems]
    except ConfigurationError:
        pass  # `_record` says it, or the gateway at its start
    return []


def _print(one: Restore, done: Restored, style: str, refusals: list[str]) -> None:
    if style == "json":
        spools = {part: copied._asdict() for part, copied in done.spools.items()}
        files = list(map(str, done.files))
        print_json({"gateway": one.manifest.gateway, "files": files, "spools": spools, "kept": done.kept,
                    "refusals": refusals})  # fmt: skip
        return
    echo(_head(one))
    echo(f"{counted(len(done.files), 'file')} written")
    for part, copied in done.spools.items():
        echo(
            f"spool of {part}: now {copied.spool}; {counted(copied.records, 'record')} of before the backup will be "
            "sent again, and a store keeps each reading once; readings after the backup are those that a store has"
        )
    for kept in done.kept:
        echo(f"  not restored: {printable(kept)}", err=True)
    for problem in refusals:
        echo(f"lineside: the services of this machine will refuse the configuration: {problem}", err=True)
    echo(f"next: lineside validate {printable(str(one.config))}")
