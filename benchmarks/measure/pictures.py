"""Pictures of measurements, drawn with matplotlib (dependency group `benchmarks`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from measure.samples import Outage, Series

BLUE, ORANGE, GREY = "#1f5fa8", "#d9730d", "#8a8f98"
COLOURS = {"broker": "#d9730d", "ingest": "#7a4fb5", "store": "#2e8b57", "machines": "#b0343c"}
DOTS = 110
"""Dots an inch."""


class Curve(NamedTuple):
    """Processor seconds a second over one quantity."""

    title: str
    label: str
    points: Sequence[tuple[float, float]]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    import matplotlib as mpl  # noqa: PLC0415 - only pictures need it

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

    plt.rcParams.update({
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.alpha": 0.25, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    })  # fmt: skip
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")


def draw_curves(curves: Sequence[Curve], heading: str, file: Path) -> None:
    """Draw each curve with the straight line through the origin and its last point."""
    figure, axes = _figure(2, 2, (9.0, 6.6))
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - only pictures need it

    for axis, curve in zip(axes.flat, curves, strict=True):
        x, y = zip(*curve.points, strict=True)
        end = x[-1], y[-1]
        axis.plot([0, end[0]], [0, end[1]], "--", color=GREY, linewidth=1.2, label="proportional")
        axis.plot(x, y, "o-", color=BLUE, linewidth=1.8, markersize=5, label="measured")
        axis.set(title=curve.title, xlabel=curve.label, ylabel="processor seconds a second")
        axis.set_xlim(0, end[0] * 1.06)
        axis.set_ylim(0, max(y) * 1.15)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.legend(frameon=False, loc="upper left")
    figure.suptitle(heading, fontsize=11)
    figure.savefig(file, dpi=DOTS)


def draw_soak(panels: Mapping[str, Sequence[Series]], outages: Sequence[Outage], heading: str, file: Path) -> None:
    """Draw panels over time, one below the other, with the outages behind them in colours."""
    figure, axes = _figure(len(panels), 1, (10.0, 2.0 * len(panels) + 0.8))
    last = max(one.time for series in panels.values() for each in series for one in each.samples)
    for axis, (title, series) in zip(axes.flat, panels.items(), strict=True):
        for what, began, ended in outages:
            axis.axvspan(began / 60, ended / 60, color=COLOURS[what], alpha=0.22, linewidth=0)
        for each, color in zip(series, (BLUE, ORANGE), strict=False):
            minutes, values = _with_gaps(each)
            axis.plot(minutes, values, color=color, linewidth=1.6, label=each.name)
        axis.set_title(title)
        axis.margins(y=0.15)
        axis.set_xlim(0, last / 60)
        axis.set_ylim(bottom=0)
        if len(series) > 1:
            axis.legend(frameon=False, loc="upper right", ncols=2, bbox_to_anchor=(1.0, 1.22))
    axes.flat[-1].set_xlabel("minutes")
    from matplotlib.patches import Patch  # noqa: PLC0415 - as above

    down = [
        Patch(color=COLOURS[what], alpha=0.35, label=f"{what} down")
        for what in dict.fromkeys(one.what for one in outages)
    ]
    figure.legend(handles=down, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(heading, fontsize=11)
    figure.savefig(file, dpi=DOTS)


def _with_gaps(series: Series) -> tuple[list[float], list[float]]:
    """Return minutes and values, with a gap between two lives of a process."""
    minutes: list[float] = []
    values: list[float] = []
    for before, one in zip([None, *series.samples], series.samples, strict=False):
        if before is not None and before.pid != one.pid:
            minutes.append(one.time / 60)
            values.append(float("nan"))
        minutes.append(one.time / 60)
        values.append(one.value)
    return minutes, values
