"""Pictures of machines at work: a cycle of one machine, a panel for each unit, phases as bands."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from drivers.base import ValueType
from drivers.extras import require
from simulators.faults.catalogue import find_machine, parse_fault
from simulators.faults.injector import Injector
from simulators.machines.plant import Plant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.settings.point import Point
    from simulators.machines.outputs import MachineOutputs

SAMPLES = 900
"""Samples over the plotted time."""

GENERIC_SECONDS = 600.0
"""Plotted time of a machine without a model."""

PANELS = 5
COUNTERS = {"cycle_time_last", "cycle_time_average", "energy", "heartbeat"}
"""Points of all machines that show nothing of a cycle."""

PANEL_RATIO = 2.0
"""Quantities of one unit share a panel if the ratio of their upper limits is at most this."""

VACUUM, DECADES = "Pa", 1e4
"""A pressure from atmosphere to vacuum, over so many decades, gets a logarithmic axis."""


def plot_machine(factory: Factory, seed: str, name: str, file: Path, faults: Sequence[str] = ()) -> None:
    """Plot one cycle of a machine.

    Raises `LookupError` if there is no such machine, `InvalidFault`, `OSError` if the file can't be written, and
    `MissingExtra`.
    """
    require("plot")
    import matplotlib as mpl  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    plant = Plant(factory, seed)
    machines = [outputs for _, outputs in plant.machines]
    outputs = find_machine(name, machines)
    injector = Injector([parse_fault(written, machines, seed) for written in faults])
    times, phases, values = one_cycle(plant, outputs, injector)
    panels = panels_of(outputs, values)
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(9, 1.0 + 1.75 * len(panels)), layout="constrained")
    axes: Any = figure.subplots(len(panels), sharex=True, squeeze=False)
    minutes = times[-1] > GENERIC_SECONDS / 2
    x = [time / 60 for time in times] if minutes else times
    for axis, (unit, points) in zip(axes[:, 0], panels, strict=True):
        _draw(axis, unit, x, {point.name: values[point.name] for point in points})
        _shade(axis, x, phases)
    labels = next((point.labels for point in outputs.configured.points if point.name in {"phase", "step"}), {})
    _name_phases(axes[0, 0], x, phases, labels)
    axes[-1, 0].set_xlabel("minutes" if minutes else "seconds")
    axes[-1, 0].set_xlim(x[0], x[-1])
    figure.suptitle(f"{outputs.configured.path.machine}: {outputs.configured.template}", fontsize=11)
    figure.savefig(file, dpi=70)


def one_cycle(
    plant: Plant, outputs: MachineOutputs, injector: Injector
) -> tuple[list[float], list[int], dict[str, list[float]]]:
    """Run to the beginning of a cycle and through it; return times, phases and values."""
    model = getattr(outputs.machine, "model", None)
    lasts = 1.08 * model.cycle if model is not None else GENERIC_SECONDS
    step = lasts / SAMPLES
    limit = plant.clock + 4 * lasts + 7200.0
    before = None
    while model is not None and plant.clock < limit:
        plant.step(step)
        injector.step(plant.clock)
        phase = outputs.values().get("phase", outputs.values().get("step", outputs.values().get("serial_number")))
        if before is not None and phase != before and (phase == 1 or isinstance(phase, str)):
            break
        before = phase
    began = plant.clock
    times: list[float] = []
    phases: list[int] = []
    values: dict[str, list[float]] = defaultdict(list)
    for _ in range(SAMPLES):
        seen = outputs.values()
        times.append(plant.clock - began)
        phases.append(int(seen.get("phase", seen.get("step", 0)) or 0))
        for name, value in seen.items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            values[name].append(float(value) if numeric else float("nan"))  # type: ignore[arg-type]
        plant.step(step)
        injector.step(plant.clock)
    return times, phases, values


def panels_of(outputs: MachineOutputs, values: dict[str, list[float]]) -> list[tuple[str, list[Point]]]:
    """Return the points of each panel: moving quantities of one unit and size, the liveliest first."""
    panels: list[tuple[str, list[Point]]] = []
    moving = [
        point
        for point in outputs.configured.points
        if point.type is ValueType.FLOAT and point.name not in COUNTERS and _movement(point, values[point.name]) > 0.0
    ]
    for point in sorted(moving, key=_top):
        for unit, others in panels:
            if unit == point.unit and _top(point) <= PANEL_RATIO * _top(others[0]):
                others.append(point)
                break
        else:
            panels.append((point.unit, [point]))
    panels.sort(key=lambda panel: -max(_movement(point, values[point.name]) for point in panel[1]))
    return panels[:PANELS]


def _top(point: Point) -> float:
    return max(map(abs, point.range)) if point.range is not None else 0.0


def _movement(point: Point, values: list[float]) -> float:
    """Return by how much of its range a point has moved."""
    there = [value for value in values if value == value]  # noqa: PLR0124 - not NaN
    if not there or point.range is None:
        return 0.0
    return (max(there) - min(there)) / (point.range[1] - point.range[0])


def _draw(axis: Any, unit: str, x: list[float], lines: dict[str, list[float]]) -> None:  # noqa: ANN401 - matplotlib's
    for name, values in lines.items():
        axis.plot(x, values, linewidth=1.1, label=name.replace("_", " "))
    every = [value for values in lines.values() for value in values if value == value]  # noqa: PLR0124 - not NaN
    if unit == VACUUM and min(every) > 0.0 and max(every) / min(every) > DECADES:
        axis.set_yscale("log")
    axis.set_ylabel({"Cel": "°C"}.get(unit, unit))
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    axis.grid(alpha=0.25)


def _shade(axis: Any, x: list[float], phases: list[int]) -> None:  # noqa: ANN401 - matplotlib's
    for phase, first, last in _bands(phases):
        if phase % 2:
            axis.axvspan(x[first], x[last], color="0.5", alpha=0.08, linewidth=0)


def _name_phases(axis: Any, x: list[float], phases: list[int], labels: dict[int, str]) -> None:  # noqa: ANN401
    for phase, first, last in _bands(phases):
        if last - first > 0.04 * len(x):
            middle = (x[first] + x[last]) / 2
            axis.annotate(labels.get(phase, ""), (middle, 1.02), xycoords=("data", "axes fraction"), ha="center",
                          fontsize=8, color="0.35")  # fmt: skip


def _bands(phases: list[int]) -> list[tuple[int, int, int]]:
    """Return each phase with the indexes of its first and last sample."""
    bands: list[tuple[int, int, int]] = []
    for i, phase in enumerate(phases):
        if bands and bands[-1][0] == phase:
            bands[-1] = (phase, bands[-1][1], i)
        else:
            bands.append((phase, i, i))
    return bands
