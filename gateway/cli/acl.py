"""`lineside acl`: users and rights at the broker, in the form of the broker."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

import click

from gateway.acl import BROKERS
from gateway.cli.common import FORMAT, OUTPUT_FOLDER, SET, load, print_json
from gateway.cli.output import echo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.acl.accounts import Account
    from gateway.acl.written import Written


@click.command()
@click.argument(
    "configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=pathlib.Path)
)
@SET
@click.option("--for", "broker", required=True, type=click.Choice(list(BROKERS)), help="The broker.")
@click.option("--out", type=OUTPUT_FOLDER, help="The folder for the files, in place of standard output.")
@click.option("--page-user", default="page", show_default=True, help="The user of the page.")
@click.option("--reader-user", default="reader", show_default=True, help="The user of tail, fleet and check.")
@click.option("--operator-user", default="operator", show_default=True, help="The user of commands for alarms.")
@FORMAT
def acl(
    configs: Sequence[Path], broker: str, out: Path | None, page_user: str, reader_user: str, operator_user: str,
    style: str,
) -> None:  # fmt: skip
    """Write users and rights of a broker for the gateways and ingests of CONFIG, the page, and commands that read.

    Each user has the topics that its part of the product uses, and no others. Name the CONFIG of every gateway at the
    broker. Passwords are never written: commands to set them are printed.
    """
    from gateway.acl.accounts import WrongAccounts, accounts_of  # noqa: PLC0415 - see gateway.cli
    from gateway.acl.written import NotPossible  # noqa: PLC0415 - see gateway.cli

    factories = [load(config) for config in configs]
    try:
        accounts = accounts_of(factories, page_user, reader_user, operator_user)
        written = BROKERS[broker](accounts, factories[0].broker)
    except (NotPossible, WrongAccounts) as error:
        echo(f"lineside: {error}", err=True)
        sys.exit(1)
    if out is not None:
        _save(out, written)
    if style == "json":
        print_json(_as_dict(broker, accounts, written))
        return
    for name, text in written.files.items():
        echo(str(out / name) if out is not None else f"==> {name} <==\n{text}")
    echo("Set the passwords:" if written.commands else "The broker takes the users from certificates.", err=True)
    for line in (*written.commands, "", *written.notes):
        echo(line, err=True)


def _save(folder: Path, written: Written) -> None:
    """Write the files; exits with 1 if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in written.files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        echo(f"lineside: {error.filename} can't be written: {error.strerror}", err=True)
        sys.exit(1)


def _as_dict(broker: str, accounts: Sequence[Account], written: Written) -> dict[str, object]:
    """Return the document that docs/commands.md explains."""
    return {
        "broker": broker,
        "accounts": [
            {
                "user": one.user,
                "part": one.owner,
                "clients": list(one.clients),
                "several": one.several,
                "rights": [right._asdict() for right in one.rights],
            }
            for one in accounts
        ],
        "files": dict(written.files),
        "commands": list(written.commands),
        "notes": list(written.notes),
    }
