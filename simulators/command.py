"""The command line of the simulators: `lineside simulate`, with speed, faults, truth and pictures."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drivers.base import parse_duration
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from gateway.settings.factory import Factory
    from simulators.app import Simulation

FILE = click.Path(dir_okay=False, path_type=Path)


def _duration(_: click.Context, option: click.Parameter, written: str | None) -> object:
    try:
        return parse_duration(written)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from error


@click.command()
@click.argument("config", type=FILE)
@click.option("--seed", default="1", show_default=True, help="The same seed gives the same values.")
@click.option(
    "--ports",
    type=click.Choice(["configured", "auto"]),
    default="configured",
    show_default=True,
    help="Listen on the configured ports, or on free ones of the loopback.",
)
@click.option("--write", type=FILE, help="With --ports auto: write a configuration that points there.")
@click.option(
    "--speed", type=click.FloatRange(0.1, 1000), default=1, show_default=True, help="Simulated seconds a second."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="MACHINE[.POINT]:FAULT[=VALUE][@START][+DURATION]",
    help="What goes wrong, as in press-03:bladder_leak@120s+5m; may be given again.",
)
@click.option(
    "--random-faults",
    callback=_duration,
    metavar="DURATION",
    help="A fault at random, out of the seed, as often as this on average.",
)
@click.option("--control", type=FILE, help="Begin and end faults as lines are appended to this file.")
@click.option("--truth", type=FILE, help="Write what the machines show, and when, to this file.")
@click.option("--history", type=click.IntRange(0), default=0, help="Values that OPC UA servers keep of each node.")
@click.option("--plot", nargs=2, metavar="MACHINE FILE.png", help="Draw a cycle of one machine, and serve nothing.")
@click.option("--with-stdin", is_flag=True, hidden=True, help="Stop when standard input ends.")
def simulate(
    config: Path,
    seed: str,
    ports: str,
    write: Path | None,
    plot: tuple[str, str] | None,
    *,
    with_stdin: bool,
    **how: Any,  # noqa: ANN401 - what `Options` says
) -> None:
    """Serve every machine of CONFIG, on this machine."""
    if ports == "auto" and write is None and plot is None:
        raise click.UsageError("--ports auto needs --write: nobody would know the ports")
    factory = _load(config)
    try:
        if plot is not None:
            from simulators.plot import plot_machine  # noqa: PLC0415 - needs what serving does not

            plot_machine(factory, seed, plot[0], Path(plot[1]), how["faults"])
            return
        from simulators.app import Options, Simulation  # noqa: PLC0415 - `--help` is fast

        simulation = Simulation(factory, seed, free_ports=ports == "auto", options=Options(**how))
        asyncio.run(_serve(simulation, write, with_stdin=with_stdin))
    except (ValueError, OSError) as error:
        click.echo(f"lineside: {error}", err=True)
        sys.exit(1)


def _load(file: Path) -> Factory:
    try:
        return load_factory(file)
    except ConfigurationError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


async def _serve(simulation: Simulation, write: Path | None, *, with_stdin: bool) -> None:
    """Run until SIGTERM, SIGINT, or the end of standard input where that is asked for."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def at_end() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    if with_stdin:
        loop.add_reader(sys.stdin.fileno(), at_end)
    await simulation.run(stop, write)
