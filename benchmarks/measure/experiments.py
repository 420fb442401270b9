"""The experiments: each starts a plant, a broker and a product, waits until it runs steadily, and returns figures.

A figure is a number with a name, such as `us_per_value`; None means that the experiment does not have it for this product.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from measure import modbus_machines, opcua_machines
from measure.lineside import Lineside, write_factory
from measure.plant import ModbusPlant, OpcUaPlant
from measure.processes import Failed, Helper, Mosquitto, TooSlow, free_port
from measure.subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure.processes import Process

Figures = dict[str, float | None]

Settings = tuple[tuple[str, Any], ...]
"""Keys of the section `gateway` with their values, which can be compared."""

MEGABYTE = 2**20
FIRST_VALUES = 60.0
"""Seconds within which a product has to deliver its first values."""

COMPLETE = 0.9
"""The part of the scheduled values that has to arrive; with less, processor time a value would not be comparable."""

SUSTAINED = 0.98
"""The part of the scheduled values that has to be stored where a rate is called sustained."""

SETTLED = 20.0
"""Seconds within which the backlog of the start should be stored. If it is not, the ages show it."""


class Product(Protocol):
    """Something that reads machines and publishes their values."""

    name: str
    format: str

    def absent(self) -> str | None:
        """Return why it can't be measured, None if it can."""

    def start(
        self, folder: Path, plant: ModbusPlant | OpcUaPlant, port: int, broker: int, settings: Settings
    ) -> Process:
        """Start it; `settings` are keys of Lineside's section `gateway`."""


@dataclass(frozen=True, slots=True)
class Duration:
    """How long an experiment lasts: `warm_up` and `seconds` of the measurement."""

    warm_up: float = 6.0
    seconds: float = 10.0


@contextmanager
def workplace() -> Iterator[tuple[Path, ExitStack]]:
    """Yield a new folder, and a stack of processes that end before the folder is removed."""
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    try:
        with ExitStack() as stack:
            yield folder, stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def machines_of(plant: ModbusPlant | OpcUaPlant, port: int) -> Helper:
    """Return the process that serves a plant."""
    serve = modbus_machines.serve if isinstance(plant, ModbusPlant) else opcua_machines.serve
    return Helper(serve, plant, port)


def wait_for_first(subscriber: Subscriber, process: Process, name: str = "first") -> float:
    """Wait for the first message, or with `first_stored` the first confirmation; return its arrival time."""
    deadline = time.monotonic() + FIRST_VALUES
    while True:
        first = subscriber.window(0, 0)[name]
        if first is not None:
            return first
        if time.monotonic() > deadline or not process.running:
            raise Failed(f"{process.name} delivered nothing within {FIRST_VALUES:g} s:\n{process.last_words()}")
        time.sleep(0.01)


def sleep_between_scans(seconds: float) -> None:
    """Sleep, and end at 0.85 of a second of the wall clock.

    Products read at whole seconds, and Lineside also at the binary fractions of it; so a window of whole seconds contains
    the same number of scans of each machine.
    """
    end = time.time() + seconds
    time.sleep(max(0.0, int(end) + 0.85 - time.time()))


@dataclass(frozen=True, slots=True)
class Steady:
    """A product reads a plant on schedule. Any product.

    Figures: `us_per_value` (processor time a value that arrives at the broker), `cores`, `p50` and `p99` (ms from scan to
    broker), `memory` (MB), `values` a second.
    """

    plant: ModbusPlant | OpcUaPlant
    settings: Settings = ()

    def run(self, product: Product, duration: Duration) -> Figures:
        """Measure a product."""
        with workplace() as (folder, stack):
            port = free_port()
            stack.enter_context(machines_of(self.plant, port))
            broker = stack.enter_context(Mosquitto(folder))
            subscriber = stack.enter_context(Subscriber(broker.port, product.format))
            process = product.start(folder, self.plant, port, broker.port, self.settings)
            stack.callback(process.stop)
            wait_for_first(subscriber, process)
            sleep_between_scans(duration.warm_up)
            before, began = process.usage(), time.time()
            time.sleep(round(duration.seconds))
            after, ended = process.usage(), time.time()
            seen = subscriber.window(began, ended)
        wanted = self.plant.rate if isinstance(self.plant, ModbusPlant) else self.plant.changes
        values = seen["published"]["values"] / (ended - began)
        if values < COMPLETE * wanted:
            raise TooSlow(f"{product.name} delivered {values:,.0f} of {wanted:,.0f} values/s")
        used = after.processor - before.processor
        return {
            "us_per_value": used / seen["published"]["values"] * 1e6,
            "cores": used / (ended - began),
            "p50": milliseconds(seen["published"]["p50"]),
            "p99": milliseconds(seen["published"]["p99"]),
            "memory": after.memory / MEGABYTE,
            "values": values,
        }


def milliseconds(seconds: float | None) -> float | None:
    """Return milliseconds, None for None."""
    return None if seconds is None else seconds * 1000


class Ledgers:
    """The ledgers of a gateway, as it publishes them every second."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def next(self, count: str) -> tuple[float, dict[str, Any]]:
        """Wait for the next ledger; return its arrival time and its report, in which `count` is above 0."""
        since = time.time()
        deadline = since + FIRST_VALUES
        while time.time() < deadline:
            for arrival, ledger in self._subscriber.window(since, deadline)["ledgers"]:
                if ledger["ledger"][count]:
                    return arrival, ledger
            time.sleep(0.02)
        raise Failed(f"no ledger with {count} within {FIRST_VALUES:g} s")

    def settle(self, most: int) -> None:
        """Wait until at most `most` readings are pending. After `SETTLED` seconds, print the backlog and go on."""
        deadline = time.monotonic() + SETTLED
        while (pending := self.next("acquired")[1]["ledger"]["pending"]) > most:
            if time.monotonic() > deadline:
                print(f"{pending:,} readings are still pending {SETTLED:g} s after the start", file=sys.stderr)
                return


def stored_rows(database: Path) -> int:
    """Return the number of readings in a SQLite store."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute("select count(*) from samples").fetchone()[0]


@dataclass(frozen=True, slots=True)
class Counted:
    """Lineside reads a plant, and the published ledger counts. For values that are not decoded at the broker.

    A plant whose values do not change is read, and nothing is sent. A plant with a shorter period than the gateway can
    keep is read all out: each scan begins when the last has ended, and the scans in between are counted as missed.

    Figures: `us_per_value` (processor time a value that was read), `values` (values read a second, or with `sent`
    acknowledged by the broker), `cores`.
    """

    plant: ModbusPlant
    sent: bool = True
    settings: Settings = ()

    def run(self, product: Product, duration: Duration) -> Figures:
        """Measure Lineside."""
        with workplace() as (folder, stack):
            port = free_port()
            stack.enter_context(machines_of(self.plant, port))
            broker = stack.enter_context(Mosquitto(folder))
            subscriber = stack.enter_context(Subscriber(broker.port, product.format, records=False))
            ledgers = Ledgers(subscriber)
            assert isinstance(product, Lineside)
            # the records have no subscribers, and with MQTT 5 the broker's acknowledgement would say so
            sections = {
                "gateway": {"confirm": "broker"} | dict(self.settings),
                "broker": {"version": "3.1.1"},
            }
            file = write_factory(folder, self.plant, port, broker.port, sections)
            process = product.gateway(folder, file)
            stack.callback(process.stop)
            process.wait_for_log("mqtt.connected")
            ledgers.next("acquired")
            time.sleep(duration.warm_up)
            began, first = ledgers.next("acquired")
            before = process.usage()
            time.sleep(duration.seconds)
            ended, last = ledgers.next("acquired")
            after = process.usage()
        read = last["ledger"]["acquired"] - first["ledger"]["acquired"]
        kept = last["ledger"]["confirmed"] - first["ledger"]["confirmed"] if self.sent else read
        used, lasted = after.processor - before.processor, ended - began
        if last["ledger"]["dropped"]:
            raise Failed(f"readings were dropped: {last['ledger']['dropped']}")
        return {"us_per_value": used / read * 1e6, "values": kept / lasted, "cores": used / lasted}


@dataclass(frozen=True, slots=True)
class Stored:
    """Lineside from the machines to the rows of a SQLite database, confirmed by the store.

    The age of a stored reading is the time from its scan to the confirmation that the subscriber receives, which is
    later than the row by one message.

    Figures: `p50` and `p99` (ms from scan to confirmation), `memory` of the gateway (MB), `values` stored a second,
    `missed` (cycles), `lost` (readings that are neither in a row nor pending after the end), `us_per_value` of the gateway and
    `ingest_us_per_value`, `start` (s from the start of both services to the first confirmation).
    """

    plant: ModbusPlant
    settings: Settings = ()

    def run(self, product: Product, duration: Duration) -> Figures:
        """Measure Lineside."""
        assert isinstance(product, Lineside)
        with workplace() as (folder, stack):
            port = free_port()
            stack.enter_context(machines_of(self.plant, port))
            broker = stack.enter_context(Mosquitto(folder))
            subscriber = stack.enter_context(Subscriber(broker.port, product.format, confirmations=True))
            ledgers = Ledgers(subscriber)
            sections = {
                "gateway": dict(self.settings),
                "ingest": {"folder": str(folder)},
                "stores": [{"sqlite": {"path": str(folder / "readings.db")}}],
            }
            file = write_factory(folder, self.plant, port, broker.port, sections)
            started = time.time()
            ingest = product.ingest(folder, file)
            stack.callback(ingest.stop)
            run = product.gateway(folder, file)
            stack.callback(run.stop)
            first_stored = wait_for_first(subscriber, run, "first_stored")
            ledgers.settle(2 * self.plant.machines * self.plant.points)
            sleep_between_scans(duration.warm_up)
            before, ingest_before, (began, first) = run.usage(), ingest.usage(), ledgers.next("acquired")
            sleep_between_scans(duration.seconds)
            after, ingest_after, (ended, last) = run.usage(), ingest.usage(), ledgers.next("acquired")
            seen = subscriber.window(began, ended)["stored"]
            run.stop()
            ingest.stop()
            ledger, rows = product.ledger(file), stored_rows(folder / "readings.db")
        lasted, values = ended - began, seen["values"]
        if not values:
            raise Failed(f"nothing was stored in {lasted:.0f} s")
        return {
            "p50": milliseconds(seen["p50"]),
            "p99": milliseconds(seen["p99"]),
            "memory": after.memory / MEGABYTE,
            "values": values / lasted,
            "missed": last["schedule"]["missed"] - first["schedule"]["missed"],
            "lost": max(0, ledger["acquired"] - ledger["unchanged"] - ledger["pending"] - rows),
            "us_per_value": (after.processor - before.processor) / values * 1e6,
            "ingest_us_per_value": (ingest_after.processor - ingest_before.processor) / values * 1e6,
            "start": first_stored - started,
        }


@dataclass(frozen=True, slots=True)
class Sustained:
    """The highest rate from machines to store at which no cycle is missed, nothing is lost and no backlog grows.

    Machines of 100 points are read every second. `rates` are tried in order, values a second, until one fails.

    Figure: `values` a second, 0 if the first rate fails.
    """

    rates: tuple[int, ...]
    settings: Settings = ()

    def run(self, product: Product, duration: Duration) -> Figures:
        """Measure Lineside."""
        best = 0.0
        for rate in self.rates:
            try:
                figures = Stored(ModbusPlant(rate // 100, 100), self.settings).run(product, duration)
            except Failed as error:
                print(f"{rate:,} values/s: {error}", file=sys.stderr)
                break
            kept = (figures["values"] or 0) >= SUSTAINED * rate
            if not kept or figures["missed"] or figures["lost"]:
                print(f"{rate:,} values/s are not sustained: {figures}", file=sys.stderr)
                break
            best = float(rate)
        return {"values": best}


Experiment = Steady | Counted | Stored | Sustained
