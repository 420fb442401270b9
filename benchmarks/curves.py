"""Measure processor time over the size and the speed of a plant, and draw it beside the proportional line.

Four curves, all of one gateway that publishes every value: points of a machine, machines, changes a second of an OPC UA
server, and scans a second. One run for each point.

    python benchmarks/curves.py [--seconds 8] [--picture docs/pictures/cost-curves.png] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson
from measure.experiments import Duration, Steady
from measure.lineside import ROOT, Lineside
from measure.pictures import Curve, draw_curves
from measure.plant import ModbusPlant, OpcUaPlant
from measure.processes import Failed, end_on_sigterm, raise_file_limit
from measure.results import conditions, number, table

if TYPE_CHECKING:
    from collections.abc import Sequence

NORMAL = ModbusPlant(100, 100)


class Axis(NamedTuple):
    """A quantity that grows while the rest of the plant stays."""

    title: str
    label: str
    plants: Sequence[tuple[float, ModbusPlant | OpcUaPlant]]


AXES = (
    Axis("Points of a machine", "points (100 machines, 1 s)", [(n, replace(NORMAL, points=n)) for n in (25, 50, 100, 200, 400)]),
    Axis("Machines", "machines (100 points, 1 s)", [(n, replace(NORMAL, machines=n)) for n in (25, 50, 100, 200, 400)]),
    Axis("OPC UA changes", "changes a second (1,000 nodes)", [(1000 * n, OpcUaPlant(1000, n)) for n in (1, 2, 5, 10, 20)]),
    Axis("Scan rate", "scans a second of each machine (100 x 100)", [(1 / s, replace(NORMAL, period=s)) for s in (4, 2, 1, 0.5, 0.25)]),
)  # fmt: skip


def measured(axis: Axis, duration: Duration) -> Curve:
    """Measure an axis from its smallest plant on. A plant that fails is left out, and the reason is printed."""
    points = []
    for x, plant in axis.plants:
        try:
            cores = Steady(plant).run(Lineside(), duration)["cores"]
        except Failed as error:
            print(f"{axis.title} {x:g}: {error}", file=sys.stderr)
            continue
        if cores is not None:
            points.append((x, cores))
            print(f"{axis.title} {x:g}: {cores:.4f} s a second", file=sys.stderr, flush=True)
    return Curve(axis.title, axis.label, points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=4.0, help="seconds after the first values")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "pictures" / "cost-curves.png")
    parser.add_argument("--json", type=Path, help="write the points to this file")
    options = parser.parse_args()
    raise_file_limit()
    end_on_sigterm()
    where = conditions(ROOT, 1, options.seconds)
    curves = [measured(axis, Duration(options.warm_up, options.seconds)) for axis in AXES]
    if not all(curve.points for curve in curves):
        raise SystemExit("a curve has no points")
    rows = [[curve.label, number(x), f"{y:.3f}"] for curve in curves for x, y in curve.points]
    print(table(["over", "at", "processor seconds a second"], rows))
    draw_curves(curves, f"Processor time of the gateway, commit {where['commit']}", options.picture)
    print(f"picture: {options.picture}")
    if options.json:
        options.json.write_bytes(orjson.dumps(where | {"curves": [curve._asdict() for curve in curves]}))


if __name__ == "__main__":
    main()
