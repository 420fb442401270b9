"""`lineside reload`: let a running gateway apply its changed configuration, and print the outcome."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gateway.cli.common import CONFIG, FORMAT, SECONDS, UNREACHABLE, load, print_json
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.settings.reload import outcome_file, read_outcome
from gateway.workers.locks import gateway_runs

if TYPE_CHECKING:
    from pathlib import Path

LOOK_EVERY = 0.05
"""Seconds between two reads of the outcome."""


@click.command()
@CONFIG
@click.option(
    "--wait", "seconds", type=SECONDS, default="30s", show_default=True, help="Time for the gateway's answer."
)
@FORMAT
def reload(config: Path, seconds: float, style: str) -> None:
    """Let the gateway that runs CONFIG on this machine apply the changes in it.

    Only changed machines are restarted. A wrong CONFIG is refused, and the gateway goes on as it was; exits 1 then.
    """
    factory = load(config)
    file = outcome_file(factory.gateway)
    try:
        before = read_outcome(file)
    except (OSError, ValueError):
        before = None
    folder = factory.gateway.spool.folder
    if before is None or not gateway_runs(folder, factory.gateway.id):
        _fail(
            f"no gateway {factory.gateway.id} works in {folder}; it is started with: lineside run {config}",
            UNREACHABLE,
        )
    if before["file"] != str(config.resolve()):
        _fail(f"gateway {factory.gateway.id} runs {before['file']}, and not {config}")
    try:
        os.kill(before["pid"], signal.SIGHUP)
    except (ProcessLookupError, PermissionError) as error:
        _fail(f"gateway {factory.gateway.id} can't be signalled (process {before['pid']}): {error.strerror}")
    deadline = time.monotonic() + seconds
    with Progress(f"waiting for gateway {factory.gateway.id}"):
        while (outcome := read_outcome(file))["time"] == before["time"]:
            if time.monotonic() > deadline:
                _fail(
                    f"gateway {factory.gateway.id} has not answered within {seconds:g} s; its log says more",
                    UNREACHABLE,
                )
            time.sleep(LOOK_EVERY)
    if style == "json":
        print_json(outcome)
        sys.exit(1 if outcome["outcome"] == "refused" else 0)
    _print(config, outcome)


def _print(config: Path, outcome: dict[str, Any]) -> None:
    if outcome["outcome"] == "refused":
        for problem in outcome["problems"]:
            echo(problem, err=True)
        _fail(f"{config} is refused, and the gateway goes on with configuration {outcome['config']}")
    if outcome["outcome"] == "unchanged":
        echo(f"{config}: nothing has changed; configuration {outcome['config']}")
        return
    counts = ", ".join(f"{len(outcome[what])} machines {what}" for what in ("added", "changed", "removed"))
    echo(f"{config}: applied in {outcome['seconds']:.2f} s: {counts}; configuration {outcome['config']}")


def _fail(message: str, code: int = 1) -> NoReturn:
    echo(f"lineside: {message}", err=True)
    sys.exit(code)
