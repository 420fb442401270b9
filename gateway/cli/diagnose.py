"""`lineside diagnose`: an archive for a ticket."""

from __future__ import annotations

import os
import pathlib
import socket
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, FORMAT, OUTPUT_FILE, load, overrides, print_json
from gateway.cli.output import echo
from gateway.cli.problem_text import print_problems
from gateway.cli.progress import Progress
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.settings.problems import Problem


@click.command()
@CONFIG
@click.option("--out", type=OUTPUT_FILE, help="Write to this file; it ends in .tar.gz.")
@click.option(
    "--log-file",
    "log_files",
    type=click.Path(dir_okay=False, exists=True, readable=True, path_type=pathlib.Path),
    multiple=True,
    help="The file of a service's log, in place of the journal; may be given again.",
)
@FORMAT
def diagnose(config: Path, out: Path | None, log_files: tuple[Path, ...], style: str) -> None:
    """Write an archive for a ticket about the services of CONFIG on this box.

    It contains the expanded configuration, the status, the ledger, the plan, the end of the log, metrics, versions,
    and facts about the box; its manifest lists what could not be had. Secrets are replaced. If CONFIG has errors, the
    archive has them and what can be had without a configuration, and the exit code is 1.
    """
    from gateway.status.diagnose import make_archive, write_archive  # noqa: PLC0415 - see gateway.cli

    if not config.is_file():
        load(config)  # ends with the reason
    factory: Factory | None = None
    problems: Sequence[Problem] = ()
    try:
        factory = load_factory(config, overrides())
    except ConfigurationError as error:
        problems = error.problems
        print_problems(problems)
    about = socket.gethostname() if factory is None else factory.gateway.id
    name = f"lineside-{about}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    file = out or pathlib.Path(f"{name}.tar.gz")
    if out is None and not os.access(pathlib.Path.cwd(), os.W_OK | os.X_OK):
        raise click.UsageError("this folder can't be written to: name a file with --out")
    with Progress("collecting"):
        archive = make_archive(factory, problems, log_files, name)
        write_archive(file, archive.content)
    if style == "json":
        print_json({"file": str(file), "bytes": len(archive.content), "missing": archive.missing})
    else:
        echo(f"{file}: {len(archive.content) / 1000:,.0f} kB")
        for part, reason in archive.missing.items():
            echo(f"  without {part}: {reason}", err=True)
    sys.exit(1 if factory is None else 0)
