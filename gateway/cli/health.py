"""`lineside health`: whether the services on this machine are alive; for containers and watchdogs."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

import click

from gateway.common.heartbeat import check_heartbeats

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=pathlib.Path))
def health(folder: Path) -> None:
    """Say whether the services that work in FOLDER are alive; exit 1 where one is not."""
    fine, summary = check_heartbeats(folder)
    click.echo(summary, err=not fine)
    sys.exit(0 if fine else 1)
