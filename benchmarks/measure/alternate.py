"""Run experiments with several products in turn, round after round, so that all of them see the same machine."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from measure.processes import Failed, TooSlow
from measure.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from measure.experiments import Duration, Experiment, Figures, Product
    from measure.rows import Row

ABSENT, FAILED, TOO_SLOW = "absent", "failed", "too slow"
"""The notes of products without a figure."""


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
    absent: set[str] = set()
    notes: dict[tuple[Experiment, str], str] = {}
    for experiment, users in experiments.items():
        products = {product.name: product for row in users for product in products_of(row)}
        for name in products.keys() - absent:
            if reason := products[name].absent():
                absent.add(name)
                print(f"{name} is absent: {reason}", file=sys.stderr)
        for turn in range(runs):
            for name, product in products.items():
                if name in absent:
                    continue
                began = time.monotonic()
                try:
                    found = experiment.run(product, duration)
                except Failed as error:
                    found = None
                    notes[experiment, name] = TOO_SLOW if isinstance(error, TooSlow) else FAILED
                    print(f"{users[0].name}: {name} failed: {error}", file=sys.stderr)
                figures.setdefault((experiment, name), []).append(found)
                shown = ", ".join(f"{key} {value:.4g}" for key, value in (found or {}).items() if value is not None)
                print(
                    f"{users[0].name} run {turn + 1}, {name}, {time.monotonic() - began:.0f} s: {shown}",
                    file=sys.stderr,
                    flush=True,
                )
    results = []
    for row in rows:
        names = [product.name for product in products_of(row)]
        runs = {
            name: [None if one is None else one.get(row.figure) for one in figures[row.experiment, name]]
            for name in names
            if name not in absent
        }
        why = {name: ABSENT if name in absent else notes.get((row.experiment, name), "-") for name in names}
        results.append(Result(row.name, row.what, row.unit, row.wanted, runs, why))
    return results
