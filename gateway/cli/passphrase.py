"""The passphrase of an archive, typed twice in a terminal or read from standard input."""

from __future__ import annotations

import sys

import click

PASSPHRASE_STDIN = click.option(
    "--passphrase-stdin", "stdin", is_flag=True, help="Read the passphrase from the first line of standard input."
)


def new_passphrase(*, stdin: bool) -> str:
    """Return the passphrase of a new archive. Raises `click.ClickException` if it is too short."""
    from gateway.backup.sealed import SHORTEST  # noqa: PLC0415 - see gateway.cli

    written = passphrase(stdin=stdin, twice=True)
    if len(written) < SHORTEST:
        raise click.ClickException(f"the passphrase has {len(written)} characters; write {SHORTEST} or more")
    return written


def passphrase(*, stdin: bool, twice: bool = False) -> str:
    """Return the passphrase of an archive."""
    if stdin:
        return sys.stdin.readline(10_000).rstrip("\r\n")
    if sys.stdin.isatty():
        return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))
    raise click.UsageError("standard input is not a terminal; write --passphrase-stdin")
