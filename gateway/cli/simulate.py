"""`lineside simulate`: serves a configuration's machines, with faults, speed, truth and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drivers.extras import require
from gateway.cli.common import CONFIG, DURATION, OUTPUT_FILE, WITH_STDIN, complete_machine, load, print_json, serve
from gateway.cli.output import echo

if TYPE_CHECKING:
    import asyncio

    from gateway.settings.factory import Factory


def _list_faults(ctx: click.Context, param: click.Parameter, value: Any) -> Any:  # noqa: ANN401 - click's
    """List the faults and exit, once both options are known: an option may be written before or after the other."""
    said = ctx.meta.setdefault("lineside-faults", {})
    said[param.name] = value
    if said.get("listed") and "style" in said and not ctx.resilient_parsing:
        require("simulators")
        _print_faults(said["style"])
        ctx.exit()
    return value


def _print_faults(style: str) -> None:
    from simulators.faults.catalogue import FAULTS, MODBUS_FAULTS  # noqa: PLC0415 - many modules

    known = FAULTS | MODBUS_FAULTS
    if style == "json":
        rows = ((name, kind.value or None, kind.unit, kind.effect) for name, kind in known.items())
        print_json({"faults": [dict(zip(("name", "value", "unit", "effect"), row, strict=True)) for row in rows]})
        return
    for name, kind in known.items():
        number = f"={kind.value:g}" if kind.value else ""
        unit = f" ({kind.unit})" if kind.unit else ""
        echo(f"{name + number:<32}{kind.effect}{unit}")
    echo("Models of machines have more: an unknown fault lists those of its machine.")


@click.command()
@CONFIG
@click.option("--faults", "listed", is_flag=True, is_eager=True, expose_value=False, callback=_list_faults,
              help="List the faults, and serve nothing; needs no CONFIG.")  # fmt: skip
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True,
              is_eager=True, expose_value=False, callback=_list_faults,
              help="With --faults: for people, or for other programs.")  # fmt: skip
@click.option("--seed", default="1", show_default=True, help="The same seed gives the same values.")
@click.option(
    "--ports",
    type=click.Choice(["configured", "auto"]),
    default="configured",
    show_default=True,
    help="Listen on the configured ports, or on free ports of the loopback.",
)
@click.option("--write", type=OUTPUT_FILE, help="With --ports auto: write a configuration that points there.")
@click.option(
    "--speed", type=click.FloatRange(0.1, 1000), default=1, show_default=True, help="Simulated seconds a second."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="MACHINE[.POINT]:FAULT[=VALUE][@START][+DURATION]",
    help="A fault, as in press-03:bladder_leak@120s+5m; may be given again.",
)
@click.option(
    "--random-faults",
    type=DURATION,
    help="A fault at random, out of the seed, as often as this on average.",
)
@click.option(
    "--control",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Begin and end faults as lines are appended to this file.",
)
@click.option("--truth", type=OUTPUT_FILE, help="Write the values of the machines, with their times, to this file.")
@click.option("--history", type=click.IntRange(0), default=0, help="Values that OPC UA servers keep of each node.")
@click.option("--plot", type=(str, OUTPUT_FILE), metavar="MACHINE FILE.png", shell_complete=complete_machine,
              help="Draw a cycle of one machine, and serve nothing.")  # fmt: skip
@WITH_STDIN
def simulate(
    config: Path,
    seed: str,
    ports: str,
    write: Path | None,
    plot: tuple[str, Path] | None,
    *,
    with_stdin: bool,
    **how: Any,  # noqa: ANN401 - what `simulators.app.Options` says
) -> None:
    """Serve every machine of CONFIG, on this machine."""
    if ports == "auto" and write is None and plot is None:
        raise click.UsageError("--ports auto needs --write: nobody would know the ports")
    if write is not None and ports != "auto":
        raise click.UsageError("--write needs --ports auto: what listens as configured is reached by CONFIG itself")
    factory = load(config)
    if foreign := sorted({machine.protocol.name for machine in factory.machines if not machine.protocol.simulator}):
        raise click.ClickException(f"there is no simulator of the protocol {', '.join(foreign)}")
    require("simulators" if plot is None else "plot")
    from simulators.faults.catalogue import InvalidFault  # noqa: PLC0415 - an extra

    try:
        if plot is not None:
            _plot(factory, seed, plot[0], plot[1], how["faults"])
        else:
            _serve(factory, seed, write, free_ports=ports == "auto", with_stdin=with_stdin, how=how)
    except InvalidFault as error:
        raise click.BadParameter(str(error), param_hint="--fault") from None


def _plot(factory: Factory, seed: str, machine: str, file: Path, faults: tuple[str, ...]) -> None:
    from simulators.plot import plot_machine  # noqa: PLC0415 - an extra

    try:
        plot_machine(factory, seed, machine, file, faults)
    except LookupError as error:
        raise click.BadParameter(str(error.args[0]), param_hint="--plot") from None


def _serve(
    factory: Factory, seed: str, write: Path | None, *, free_ports: bool, with_stdin: bool, how: dict[str, Any]
) -> None:
    from simulators.app import Options, Simulation  # noqa: PLC0415 - an extra

    async def main(stop: asyncio.Event) -> None:
        await Simulation(factory, seed, free_ports=free_ports, options=Options(**how)).run(stop, write)

    serve(main, with_stdin=with_stdin)
