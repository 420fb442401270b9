"""Run experiments with several products in turn, round after round, so that all of them see the same machine."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from measure.processes import Failed
from measure.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from measure.experiments import Duration, Experiment, Figures, Product
    from measure.rows import Row

ABSENT = "absent"


def measure(
    rows: Sequence[Row],
    products_of: Callable[[Row], Sequence[Product]],
    runs: int,
    duration: Duration,
) -> list[Result]:
    """Measure each experiment of the rows `runs` times with each product in turn, and return the results by row.

    A product that fails in a run has no figure of it, and the reason is printed; the others go on.
    """
    experiments: dict[Experiment, list[Row]] = {}
    for row in rows:
        experiments.setdefault(row.experiment, []).append(row)
    figures: dict[tuple[Experiment, str], list[Figures | None]] = {}
    notes: dict[str, str] = {}
    for experiment, users in experiments.items():
        products = {product.name: product for row in users for product in products_of(row)}
        for name in [name for name, product in products.items() if notes.get(name) != ABSENT]:
            if reason := products[name].absent():
                notes[name] = ABSENT
                print(f"{name} is absent: {reason}", file=sys.stderr)
        for turn in range(runs):
            for name, product in products.items():
                if notes.get(name) == ABSENT:
                    continue
                began = time.monotonic()
                try:
                    found = experiment.run(product, duration)
                except Failed as error:
                    found = None
                    print(f"{users[0].name}: {name} failed: {error}", file=sys.stderr)
                figures.setdefault((experiment, name), []).append(found)
                shown = ", ".join(f"{key} {value:.4g}" for key, value in (found or {}).items() if value is not None)
                print(
                    f"{users[0].name} run {turn + 1}, {name}, {time.monotonic() - began:.0f} s: {shown}",
                    file=sys.stderr,
                    flush=True,
                )
    return [_result(row, [one.name for one in products_of(row)], figures, notes) for row in rows]


def _result(
    row: Row,
    names: Sequence[str],
    figures: dict[tuple[Experiment, str], list[Figures | None]],
    notes: dict[str, str],
) -> Result:
    runs = {
        name: [None if one is None else one.get(row.figure) for one in figures[row.experiment, name]]
        for name in names
        if (row.experiment, name) in figures
    }
    why = {name: notes.get(name, "failed") for name in names}
    return Result(row.name, row.what, row.unit, row.wanted, runs, why)
