"""`lineside health`: whether the services on this machine are alive; for containers and watchdogs."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.output import echo
from gateway.common.heartbeat import heartbeats, summary

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("target", metavar="CONFIG", type=click.Path(path_type=pathlib.Path))
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="For people, or for other programs.")  # fmt: skip
def health(target: Path, style: str) -> None:
    """Check that the services of CONFIG on this machine are alive; exit 1 where one is not.

    In place of CONFIG a folder may be named, in which services work. That is faster, since no configuration is read.
    """
    folders = _folders(target)
    found = [one for folder in folders for one in heartbeats(folder)]
    alive = bool(found) and all(one.alive for one in found)
    if style == "json":
        from gateway.cli.common import print_json  # noqa: PLC0415 - a check in a container starts fast

        print_json({"alive": alive, "services": [one._asdict() | {"alive": one.alive} for one in found]})
    else:
        echo(summary(found) or f"no service runs in {' or '.join(map(str, folders))}", err=not alive)
    sys.exit(0 if alive else 1)


def _folders(target: Path) -> list[Path]:
    """Return the folders in which the services of a configuration work, or the given folder."""
    if not target.is_file():
        return [target]
    from gateway.cli.common import load  # noqa: PLC0415 - as above

    factory = load(target)
    return list(dict.fromkeys((factory.gateway.spool.folder, factory.ingest.folder)))
