"""`lineside plan`: the requests to each device, their cost, and the periods that can't be kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.acquisition.device_metadata import reported_metadata
from gateway.acquisition.link_load import link_loads
from gateway.acquisition.link_plan import are_kept, plan_of, revised_of
from gateway.cli.common import CONFIG, FORMAT, load, print_json
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.common.text import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from drivers.base import Cost, Group
    from gateway.acquisition.link_load import LinkLoad
    from gateway.acquisition.link_plan import Reported
    from gateway.settings.factory import Machine


@click.command()
@CONFIG
@click.option("--requests", is_flag=True, help="Show every request too.")
@FORMAT
def plan(config: Path, style: str, *, requests: bool) -> None:
    """Show the requests to each device of CONFIG; exit 1 if a period can't be kept."""
    factory = load(config)
    with Progress("planning the requests"):
        links = link_loads(factory.machines)
        reported = reported_metadata(factory.gateway.spool.folder, factory.gateway.id)
    if style == "json":
        result = {
            "file": str(config),
            "kept": are_kept(links),
            "connections": [plan_of(link, reported) for link in links],
            "derived": {
                str(one.path): [point.name for point in one.derived] for one in factory.machines if one.derived
            },
        }
        print_json(result)
    else:
        _print(links, reported, requests=requests)
        _print_derived(factory.machines)
    sys.exit(0 if are_kept(links) else 1)


def _print(links: Sequence[LinkLoad], reported: Reported, *, requests: bool) -> None:
    for link in links:
        echo(f"{link.connection}   load {link.load:.0%}, {link.bytes_per_second / 1000:.1f} kB/s")
        for group, cost in link.costs:
            _group(group, cost, requests=requests)
            _print_revised(group, reported)
        if link.verdict:
            echo(f"  {link.verdict}", err=True)


def _print_derived(machines: Iterable[Machine]) -> None:
    """Print how many points are derived, which costs no request."""
    numbers = [len(machine.derived) for machine in machines if machine.derived]
    if numbers:
        machines_ = counted(len(numbers), "machine")
        echo(f"{counted(sum(numbers), 'derived point')} of {machines_}: calculated at the edge, without requests")


def _group(group: Group, cost: Cost, *, requests: bool) -> None:
    machine = group.machine.rpartition("/")[2]
    points = len(group.names)
    took = "pushed" if group.pushed else f"{cost.seconds * 1000:.0f} ms expected"
    asked = f"{cost.requests} requests, {cost.bytes} bytes, {took}"
    echo(f"  {machine:<20} {points:>5} points every {group.every:g} s: {asked}")
    if requests:
        for detail in cost.details:
            echo(f"      {detail}")


def _print_revised(group: Group, reported: Reported) -> None:
    points: dict[str, list[str]] = {}
    for name, revised in revised_of(group, reported):
        text = ", ".join(f"{parameter} {_shown(parameter, value)}" for parameter, value in revised.items())
        points.setdefault(text, []).append(name)
    for text, names in points.items():
        echo(f"      the device grants only {text}: {listed(names)}")


def _shown(parameter: str, value: float) -> str:
    return f"{value:g}" if parameter == "queue" else f"{value:g} s"
