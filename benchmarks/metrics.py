"""The cost of metrics: processor time of gateways without an endpoint, and with one that is scraped, side by side.

    python benchmarks/metrics.py [--runs 3] [--seconds 60] [--machines 100] [--points 100]

Three gateways read the same machines every second at the same time, confirmed by the broker: so the work of others on this
machine, which changes from minute to minute, affects all of them. A thread of this process scrapes `/metrics` of the second
every 15 s, and of the third every second.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple, Self

from measure.experiments import machines_of, sleep_between_scans, wait_for_first, workplace
from measure.lineside import ROOT, Lineside, report
from measure.plant import ModbusPlant
from measure.processes import Failed, Mosquitto, end_on_sigterm, free_port, raise_file_limit
from measure.results import conditions
from measure.subscriber import Subscriber

from simulators.ports import LOOPBACK


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
        pause = (
            0.5  # the first scrape comes early: it imports the client library, and makes the lines of all machines
        )
        while not self._stop.wait(pause):
            began = time.monotonic()
            try:
                connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
                size = len(connection.getresponse().read())
            except (OSError, HTTPException):
                connection.close()
            else:
                self.found = Scrapes([*self.found.seconds, time.monotonic() - began], size)
                pause = self._every


VARIANTS: dict[str, float | None] = {"without metrics": None, "scraped every 15 s": 15.0, "scraped every second": 1.0}
"""The gateways, and the seconds between two scrapes."""


def run(plant: ModbusPlant, seconds: float, warm_up: float, turn: int) -> tuple[dict[str, float], dict[str, Scrapes]]:
    """Return the seconds of processor time a second of each gateway, and the scrapes. Raises `Failed`."""
    with workplace() as (folder, stack):
        port = free_port()
        stack.enter_context(machines_of(plant, port))
        broker = stack.enter_context(Mosquitto(folder))
        subscriber = stack.enter_context(Subscriber(broker.port, "lineside"))
        started, scrapers = {}, {}
        names = list(VARIANTS)
        for number, name in enumerate(names[turn % 3 :] + names[: turn % 3]):
            own, settings = folder / str(number), [("id", f"edge-{number}")]
            own.mkdir()
            if (every := VARIANTS[name]) is not None:
                scraped = free_port()
                settings.append(("metrics", {"listen": f"{LOOPBACK}:{scraped}"}))
                scrapers[name] = stack.enter_context(Scraper(scraped, every))
            started[name] = Lineside().start(own, plant, port, broker.port, tuple(settings))
            stack.callback(started[name].stop)
        wait_for_first(subscriber, started[names[0]], "first")
        sleep_between_scans(warm_up)
        before = {name: process.usage().processor for name, process in started.items()}
        time.sleep(seconds)
        used = {name: (process.usage().processor - before[name]) / seconds for name, process in started.items()}
        for number, process in enumerate(started.values()):
            process.stop()
            schedule = report(folder / str(number), "run")["schedule"]
            if schedule["missed"] > MOST_MISSED * schedule["due"]:
                raise Failed(
                    f"{schedule['missed']:,} of {schedule['due']:,} scans were missed: the machine is too busy"
                )
        return used, {name: scraper.found for name, scraper in scrapers.items()}


MOST_MISSED = 0.05
"""The part of the scans that may be missed, most of them at the start."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement: a multiple of 15")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds after the first values")
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--points", type=int, default=100)
    options = parser.parse_args()
    raise_file_limit()
    end_on_sigterm()
    plant = ModbusPlant(options.machines, options.points)
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    scrapes: dict[str, Scrapes] = {}
    for turn in range(options.runs):
        used, scrapes = run(plant, options.seconds, options.warm_up, turn)
        for name, one in used.items():
            found[name].append(one)
        print(
            f"run {turn + 1}: {', '.join(f'{name} {one * 1000:.2f} ms/s' for name, one in used.items())}", flush=True
        )
    where = conditions(ROOT, options.runs, options.seconds)
    print(f"\n{options.machines} machines of {options.points} points a second; {where}\n")
    print("| | µs a value | more | a scrape takes | bytes |\n|---|---|---|---|---|")
    for name, costs in found.items():
        more = statistics.median(cost / base - 1 for cost, base in zip(costs, found["without metrics"], strict=True))
        took = f"{statistics.median(scrapes[name].seconds) * 1000:.0f} ms" if name in scrapes else ""
        size = f"{scrapes[name].size:,}" if name in scrapes else ""
        print(f"| {name} | {statistics.median(costs) / plant.rate * 1e6:.2f} | {more:+.1%} | {took} | {size} |")


if __name__ == "__main__":
    main()
