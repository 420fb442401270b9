"""`lineside show`: a configuration with every range, parameter, default and template applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, MACHINE, load, machines_of, print_json
from gateway.cli.output import echo, echo_data
from gateway.settings.serialize import (
    dump,
    duration,
    short_text,
    source_text,
    written_factory,
    written_machine,
    written_point,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.settings.factory import Machine


@click.command()
@CONFIG
@MACHINE
@click.option("--format", "style", type=click.Choice(["text", "yaml", "json"]), default="text", show_default=True,
              help="For people, as a file, or for other programs.")  # fmt: skip
def show(config: Path, pattern: str, style: str) -> None:
    """Show all machines and points of CONFIG, as the gateway understands them. Secrets are shown by name alone."""
    factory = load(config)
    machines = machines_of(factory, pattern)
    if style == "text":
        _print(machines)
        return
    content = written_factory(factory) | {"machines": [written_machine(machine) for machine in machines]}
    if style == "json":
        print_json(content)
    else:
        echo_data(dump(content), nl=False)


def _print(machines: Sequence[Machine]) -> None:
    for machine in machines:
        connection = short_text(machine.written["connection"])
        phase = "" if machine.phase is None else f", scans {duration(machine.phase)} after each full period"
        echo(f"{machine.path}   {machine.template}, {len(machine.quantities)} points over {connection}{phase}")
        for point in (*machine.all_points, *machine.searches):
            keys = written_point(point)
            start = f"  {point.name:<28} {keys['type']:<6} {point.unit:<8} {keys['every']:>6}"
            echo(f"{start}   {source_text(keys)}")
