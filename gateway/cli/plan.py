"""`lineside plan`: the requests that will be sent, what they cost, and whether the periods can be held."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, load

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Connection, Cost, Group, Protocol

BUSY = 0.8
"""The share of a link's time from which on periods are at risk."""


@click.command()
@CONFIG
@click.option("--requests", is_flag=True, help="Show every request too.")
def plan(config: Path, *, requests: bool) -> None:
    """Show what will be asked of each device of CONFIG; exit 1 where a period can't be held."""
    from gateway.groups import groups_of  # noqa: PLC0415 - see gateway.cli

    factory = load(config)
    devices: dict[Connection, tuple[Protocol, list[Group]]] = {}
    for machine in factory.machines:
        groups = [group for group, _ in groups_of(machine)]
        devices.setdefault(machine.connection.shared(), (machine.protocol, []))[1].extend(groups)
    fits = [_device(str(connection), *device, requests=requests) for connection, device in devices.items()]
    sys.exit(0 if all(fits) else 1)


def _device(name: str, protocol: Protocol, groups: list[Group], *, requests: bool) -> bool:
    """Print one device; returns whether its periods can be held."""
    costs = [(group, protocol.cost(group)) for group in groups]
    load_ = sum(cost.seconds / group.every for group, cost in costs if not group.pushed)
    bytes_ = sum(cost.bytes / group.every for group, cost in costs)
    click.echo(f"{name}   load {load_:.0%}, {bytes_ / 1000:.1f} kB/s")
    for group, cost in costs:
        _group(group, cost, requests=requests)
    if load_ > 1:
        click.echo("  the periods can't be held: read less often, fewer points, or over more connections", err=True)
    elif load_ > BUSY:
        click.echo("  the link is busy: a slow answer will cost a cycle", err=True)
    return load_ <= 1


def _group(group: Group, cost: Cost, *, requests: bool) -> None:
    machine = group.machine.rpartition("/")[2]
    points = len(group.names)
    took = "pushed" if group.pushed else f"{cost.seconds * 1000:.0f} ms expected"
    asked = f"{cost.requests} requests, {cost.bytes} bytes, {took}"
    click.echo(f"  {machine:<20} {points:>5} points every {group.every:g} s: {asked}")
    if requests:
        for detail in cost.details:
            click.echo(f"      {detail}")
