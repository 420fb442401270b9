"""The cost of metrics: processor time of a gateway without an endpoint, and with one that is scraped, in turn.

    python benchmarks/metrics.py [--runs 3] [--seconds 45] [--machines 100] [--points 100]

Each run starts a gateway that reads the machines every second, confirmed by the broker. A thread of this process scrapes
`/metrics` every 15 s, or every second.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, NamedTuple, Self

from measure.experiments import Duration, Steady
from measure.lineside import ROOT, Lineside
from measure.plant import ModbusPlant
from measure.processes import Failed, end_on_sigterm, free_port, raise_file_limit
from measure.results import conditions

from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from measure.experiments import Figures


class Scrapes(NamedTuple):
    """Scrapes of one run: their durations in seconds, and the bytes of the last."""

    seconds: list[float]
    size: int


class Scraper:
    """Scrapes an endpoint periodically, over one connection as Prometheus does, until it is left."""

    def __init__(self, port: int, every: float) -> None:
        self._port, self._every = port, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.found = Scrapes([], 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = HTTPConnection(LOOPBACK, self._port, timeout=10)
        while not self._stop.wait(self._every):
            began = time.monotonic()
            try:
                connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
                size = len(connection.getresponse().read())
            except (OSError, HTTPException):
                connection.close()
            else:
                self.found = Scrapes([*self.found.seconds, time.monotonic() - began], size)


def run(plant: ModbusPlant, every: float | None, duration: Duration) -> tuple[Figures, Scrapes]:
    """Measure a gateway; without `every` it has no endpoint. Raises `Failed`."""
    if every is None:
        return Steady(plant).run(Lineside(), duration), Scrapes([], 0)
    port = free_port()
    with Scraper(port, every) as scraper:
        figures = Steady(plant, (("metrics", {"listen": f"{LOOPBACK}:{port}"}),)).run(Lineside(), duration)
    if not scraper.found.seconds:
        raise Failed("the endpoint was never scraped")
    return figures, scraper.found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=45.0, help="of each measurement: a multiple of 15")
    parser.add_argument("--warm-up", type=float, default=6.0, help="seconds after the first values")
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--points", type=int, default=100)
    options = parser.parse_args()
    raise_file_limit()
    end_on_sigterm()
    plant, duration = ModbusPlant(options.machines, options.points), Duration(options.warm_up, options.seconds)
    variants = {"without metrics": None, "scraped every 15 s": 15.0, "scraped every second": 1.0}
    figures: dict[str, list[Figures]] = {name: [] for name in variants}
    scrapes: dict[str, Scrapes] = {}
    for turn in range(options.runs):
        for name, every in variants.items():
            found, scrapes[name] = run(plant, every, duration)
            figures[name].append(found)
            print(
                f"run {turn + 1}, {name}: {found['us_per_value']:.3f} µs a value, p99 {found['p99']:.0f} ms",
                flush=True,
            )
    before = statistics.median(one["us_per_value"] for one in figures["without metrics"])
    print(
        f"\n{options.machines} machines of {options.points} points a second; {conditions(ROOT, options.runs, options.seconds)}\n"
    )
    print("| | µs a value | more | scan to broker, p99 | a scrape takes | bytes |\n|---|---|---|---|---|---|")
    for name, runs in figures.items():
        cost = statistics.median(one["us_per_value"] for one in runs)
        late = statistics.median(one["p99"] or 0.0 for one in runs)
        took = f"{statistics.median(scrapes[name].seconds) * 1000:.0f} ms" if scrapes[name].seconds else ""
        size = f"{scrapes[name].size:,}" if scrapes[name].size else ""
        print(f"| {name} | {cost:.2f} | {cost / before - 1:+.1%} | {late:.0f} ms | {took} | {size} |")


if __name__ == "__main__":
    main()
