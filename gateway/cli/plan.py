"""`lineside plan`: the requests to each device, their cost, and the periods that can't be kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.acquisition.device_metadata import reported_metadata
from gateway.acquisition.link_load import link_loads
from gateway.cli.common import CONFIG, load
from gateway.common.text import listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drivers.base import Cost, Group, PointMetadata


@click.command()
@CONFIG
@click.option("--requests", is_flag=True, help="Show every request too.")
def plan(config: Path, *, requests: bool) -> None:
    """Show the requests to each device of CONFIG; exit 1 if a period can't be kept."""
    factory = load(config)
    links = link_loads(factory.machines)
    reported = reported_metadata(factory.gateway.spool.folder, factory.gateway.id)
    for link in links:
        click.echo(f"{link.connection}   load {link.load:.0%}, {link.bytes_per_second / 1000:.1f} kB/s")
        for group, cost in link.costs:
            _group(group, cost, requests=requests)
            _revised(group, reported.get(group.machine, {}))
        if link.verdict:
            click.echo(f"  {link.verdict}", err=True)
    sys.exit(1 if any(link.load > 1 for link in links) else 0)


def _group(group: Group, cost: Cost, *, requests: bool) -> None:
    machine = group.machine.rpartition("/")[2]
    points = len(group.names)
    took = "pushed" if group.pushed else f"{cost.seconds * 1000:.0f} ms expected"
    asked = f"{cost.requests} requests, {cost.bytes} bytes, {took}"
    click.echo(f"  {machine:<20} {points:>5} points every {group.every:g} s: {asked}")
    if requests:
        for detail in cost.details:
            click.echo(f"      {detail}")


def _revised(group: Group, reported: Mapping[str, PointMetadata]) -> None:
    """Show the parameters that the device granted instead of those requested, when it was last connected."""
    points: dict[str, list[str]] = {}
    for name in group.names:
        if name in reported and (revised := reported[name].revised):
            text = ", ".join(f"{parameter} {_shown(parameter, value)}" for parameter, value in revised.items())
            points.setdefault(text, []).append(name)
    for text, names in points.items():
        click.echo(f"      the device grants only {text}: {listed(names)}")


def _shown(parameter: str, value: float) -> str:
    return f"{value:g}" if parameter == "queue" else f"{value:g} s"
