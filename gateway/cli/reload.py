"""`lineside reload`: let a running gateway apply its changed configuration, and print the outcome."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gateway.cli.common import CONFIG, FORMAT, SECONDS, UNREACHABLE, load, print_json
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.common.control_socket import NotListening, NotTheService, ask, socket_file
from gateway.workers.locks import gateway_runs

if TYPE_CHECKING:
    from pathlib import Path

LOOK_EVERY = 0.05
"""Seconds between two attempts to reach a gateway that is starting."""


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
    own = factory.gateway
    folder = own.spool.folder
    if not gateway_runs(folder, own.id):
        _fail(f"no gateway {own.id} works in {folder}; it is started with: lineside run {config}", UNREACHABLE)
    with Progress(f"waiting for gateway {own.id}"):
        outcome = _ask(own.id, socket_file(folder, own.id), config, seconds)
    if outcome.get("outcome") == "other_file":
        _fail(f"gateway {own.id} runs {outcome.get('file')}, and not {config}")
    if not {"outcome", "config"} <= outcome.keys():
        _fail(f"gateway {own.id} answers what this version does not understand; is it of another version?")
    if style == "json":
        print_json(outcome)
        sys.exit(1 if outcome["outcome"] == "refused" else 0)
    _print(config, outcome)


def _ask(gateway: str, file: Path, config: Path, seconds: float) -> dict[str, Any]:
    """Return the answer of the gateway; waits for one that is starting."""
    deadline = time.monotonic() + seconds
    request = {"command": "reload", "file": str(config.resolve())}
    while True:
        left = deadline - time.monotonic()
        try:
            return ask(file, request, max(left, LOOK_EVERY))
        except NotListening:
            if left <= 0:
                hint = "it is starting, or of an earlier version; send it SIGHUP, or restart it, which loses nothing"
                _fail(f"gateway {gateway} does not listen at {file}; {hint}", UNREACHABLE)
            time.sleep(LOOK_EVERY)
        except NotTheService as error:
            _fail(f"this is not gateway {gateway}: {error}")
        except TimeoutError:
            _fail(f"gateway {gateway} has not answered within {seconds:g} s; its log says more", UNREACHABLE)
        except PermissionError:
            _fail(f"only root and the user of gateway {gateway} may use {file}")


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
