"""`lineside status`: the services of a configuration on this box."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, FORMAT, load, print_json
from gateway.cli.output import echo

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@CONFIG
@FORMAT
def status(config: Path, style: str) -> None:
    """Show the services of CONFIG on this box, and what a person should act on.

    Everything is read from files on this box, so the broker may be away, and the services may be dead. Exits with 1
    if there is something to act on, and with 3 if a service is not running or hangs.
    """
    from gateway.status.box import read_box  # noqa: PLC0415 - see gateway.cli

    found = read_box(load(config))
    if style == "json":
        print_json(found.report)
    else:
        from gateway.status.box_text import box_text  # noqa: PLC0415 - see gateway.cli

        echo(box_text(found))
    sys.exit(found.code)
