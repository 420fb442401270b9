"""The cost of metrics: processor time of gateways without an endpoint, and with one that is scraped, side by side.

    python benchmarks/metrics.py [--runs 3] [--seconds 60] [--machines 100] [--points 100]
    python benchmarks/metrics.py --tls [--keys 'RSA 2048'] [--every 0.5]

Gateways read the same machines every second at the same time, confirmed by the broker: so the work of others on this
machine, which changes from minute to minute, affects all of them. A thread of this process scrapes `/metrics` of the second
every 15 s, and of the third every second.

With `--tls` the endpoints are scraped over a connection that is kept, as Prometheus does, and over a new connection each
time; without TLS, and with TLS that demands a certificate of the client. The result is the processor time of a scrape.
"""

from __future__ import annotations

import argparse
import ssl
import statistics
import threading
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from measure.certificates import KINDS, make_certificates
from measure.experiments import machines_of, sleep_between_scans, wait_for_first, workplace
from measure.lineside import ROOT, Lineside, report
from measure.plant import ModbusPlant
from measure.processes import Failed, Mosquitto, end_on_sigterm, free_port, raise_file_limit
from measure.results import conditions
from measure.subscriber import Subscriber

from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from measure.certificates import Certificates


class Variant(NamedTuple):
    """How a gateway is scraped: the seconds between two scrapes, whether over TLS, and over one connection."""

    every: float
    tls: bool = False
    kept: bool = True


class Scrapes(NamedTuple):
    """Scrapes of one run: their durations in seconds, and the bytes of the last."""

    seconds: list[float]
    size: int


class Scraper:
    """Scrapes an endpoint periodically until it is left. With a context it does so over TLS."""

    def __init__(self, port: int, variant: Variant, context: ssl.SSLContext | None) -> None:
        self._port, self._variant, self._context = port, variant, context
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.found = Scrapes([], 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _connection(self) -> HTTPConnection:
        if self._context is None:
            return HTTPConnection(LOOPBACK, self._port, timeout=10)
        return HTTPSConnection(LOOPBACK, self._port, timeout=10, context=self._context)

    def _run(self) -> None:
        connection = self._connection()
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
                pause = self._variant.every
            if not self._variant.kept:
                connection.close()
                connection = self._connection()  # a full handshake: no session of TLS is kept
        connection.close()


BASE = "without metrics"
"""The gateway that the others are compared with."""

USUAL = {"scraped every 15 s": Variant(15.0), "scraped every second": Variant(1.0)}
"""The gateways that are scraped."""


def connections(every: float) -> dict[str, Variant]:
    """Return gateways that are scraped so often, over connections of all kinds."""
    return {
        "kept connection": Variant(every),
        "new connection": Variant(every, kept=False),
        "kept connection, TLS": Variant(every, tls=True),
        "new connection, TLS": Variant(every, tls=True, kept=False),
    }


class Found(NamedTuple):
    """Of a gateway in one run: seconds of processor time a second, scrapes while they were measured, and all scrapes."""

    used: float
    scraped: int
    scrapes: Scrapes


def run(
    plant: ModbusPlant, variants: Mapping[str, Variant], keys: str, seconds: float, warm_up: float, turn: int
) -> dict[str, Found]:  # fmt: skip
    """Return the findings of each gateway, that without metrics included. Raises `Failed`."""
    with workplace() as (folder, stack):
        port = free_port()
        stack.enter_context(machines_of(plant, port))
        broker = stack.enter_context(Mosquitto(folder))
        subscriber = stack.enter_context(Subscriber(broker.port, "lineside"))
        certificates = make_certificates(folder, keys)
        context = context_of(certificates)
        started, scrapers = {}, {}
        names = [BASE, *variants]
        first = turn % len(names)
        for number, name in enumerate(names[first:] + names[:first]):
            own, settings = folder / str(number), [("id", f"edge-{number}")]
            own.mkdir()
            if (variant := variants.get(name)) is not None:
                scraped = free_port()
                settings.append(("metrics", endpoint(scraped, variant, certificates)))
                scraper = Scraper(scraped, variant, context if variant.tls else None)
                scrapers[name] = stack.enter_context(scraper)
            started[name] = Lineside().start(own, plant, port, broker.port, tuple(settings))
            stack.callback(started[name].stop)
        wait_for_first(subscriber, started[names[0]], "first")
        sleep_between_scans(warm_up)
        before = {name: process.usage().processor for name, process in started.items()}
        earlier = {name: len(scraper.found.seconds) for name, scraper in scrapers.items()}
        time.sleep(seconds)
        used = {name: (process.usage().processor - before[name]) / seconds for name, process in started.items()}
        scraped_then = {name: len(scraper.found.seconds) - earlier[name] for name, scraper in scrapers.items()}
        for number, process in enumerate(started.values()):
            process.stop()
            schedule = report(folder / str(number), "run")["schedule"]
            if schedule["missed"] > MOST_MISSED * schedule["due"]:
                raise Failed(
                    f"{schedule['missed']:,} of {schedule['due']:,} scans were missed: the machine is too busy"
                )
        nothing = Scrapes([], 0)
        return {
            name: Found(one, scraped_then.get(name, 0), scrapers[name].found if name in scrapers else nothing)
            for name, one in used.items()
        }


def endpoint(port: int, variant: Variant, certificates: Certificates) -> dict[str, Any]:
    """Return `gateway.metrics` of a gateway."""
    listen = {"listen": f"{LOOPBACK}:{port}"}
    if not variant.tls:
        return listen
    certificate, key = certificates.server
    tls = {"certificate": str(certificate), "key": str(key), "client_ca": str(certificates.authority)}
    return listen | {"tls": tls}


def context_of(certificates: Certificates) -> ssl.SSLContext:
    """Return the context of a client with a certificate, which verifies the server."""
    context = ssl.create_default_context(cafile=certificates.authority)
    context.load_cert_chain(*certificates.client)
    return context


MOST_MISSED = 0.05
"""The part of the scans that may be missed, most of them at the start."""


def print_costs(found: Mapping[str, list[Found]], plant: ModbusPlant) -> None:
    """Print the processor time of a value, with and without scrapes."""
    print("| | µs a value | more | a scrape takes | bytes |\n|---|---|---|---|---|")
    for name, those in found.items():
        costs = [one.used for one in those]
        base = [one.used for one in found[BASE]]
        more = statistics.median(cost / own - 1 for cost, own in zip(costs, base, strict=True))
        took, size = scrape_of(those[-1].scrapes)
        print(f"| {name} | {statistics.median(costs) / plant.rate * 1e6:.2f} | {more:+.1%} | {took} | {size} |")


def print_scrapes(found: Mapping[str, list[Found]], seconds: float) -> None:
    """Print the processor time of a scrape over each kind of connection, its median and its range over the runs."""
    print("| | processor time of a scrape | a scrape takes | scrapes a second | bytes |\n|---|---|---|---|---|")
    for name, those in found.items():
        if name == BASE:
            continue
        costs = [
            (one.used - base.used) * seconds / one.scraped * 1000
            for one, base in zip(those, found[BASE], strict=True)
            if one.scraped
        ]
        if not costs:
            raise Failed(f"nothing was scraped: {name}")
        took, size = scrape_of(those[-1].scrapes)
        rate = statistics.median(one.scraped for one in those) / seconds
        print(
            f"| {name} | {statistics.median(costs):.2f} ms ({min(costs):.2f} to {max(costs):.2f}) | {took} | "
            f"{rate:.1f} | {size} |"
        )


def scrape_of(scrapes: Scrapes) -> tuple[str, str]:
    """Return the duration of a scrape, and its size, for a table."""
    if not scrapes.seconds:
        return "", ""
    return f"{statistics.median(scrapes.seconds) * 1000:.1f} ms", f"{scrapes.size:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement: a multiple of 15")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds after the first values")
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--tls", action="store_true", help="compare connections, with and without TLS")
    parser.add_argument("--keys", choices=KINDS, default=KINDS[0], help="of the certificates")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two scrapes with --tls")
    options = parser.parse_args()
    raise_file_limit()
    end_on_sigterm()
    plant = ModbusPlant(options.machines, options.points)
    variants = connections(options.every) if options.tls else USUAL
    found: dict[str, list[Found]] = {name: [] for name in (BASE, *variants)}
    for turn in range(options.runs):
        those = run(plant, variants, options.keys, options.seconds, options.warm_up, turn)
        for name, one in those.items():
            found[name].append(one)
        shown = ", ".join(f"{name} {one.used * 1000:.2f} ms/s" for name, one in those.items())
        print(f"run {turn + 1}: {shown}", flush=True)
    where = conditions(ROOT, options.runs, options.seconds)
    keys = f", keys of {options.keys}" if options.tls else ""
    print(f"\n{options.machines} machines of {options.points} points a second{keys}; {where}\n")
    if options.tls:
        print_scrapes(found, options.seconds)
    else:
        print_costs(found, plant)


if __name__ == "__main__":
    main()
