"""The rows of `make bench`: what Lineside promises, and how it is measured. One line a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from measure.experiments import Counted, Steady, Stored, Sustained
from measure.plant import ModbusPlant, OpcUaPlant
from measure.results import Wanted

if TYPE_CHECKING:
    from measure.experiments import Experiment

MODBUS, OPCUA, ALONE = ("telegraf", "thingsboard"), ("telegraf",), ()


@dataclass(frozen=True, slots=True)
class Row:
    """A promised number: a figure of an experiment. Rows with an equal experiment use the same runs."""

    name: str
    what: str
    unit: str
    experiment: Experiment
    figure: str
    wanted: Wanted = field(default_factory=Wanted)
    peers: tuple[str, ...] = ALONE


HUNDRED = Steady(ModbusPlant(100, 100))
TEN_THOUSAND, HUNDRED_THOUSAND = Stored(ModbusPlant(100, 100)), Stored(ModbusPlant(1000, 100))
UNCHANGED = Counted(ModbusPlant(100, 100, changing=False, on_change=True), sent=False)
ALL_OUT = Counted(ModbusPlant(20, 100, period=0.001, floats=1.0, changing=False, in_flight=2))
ALL_OUT_CHANGING = Counted(ModbusPlant(20, 100, period=0.001, floats=1.0, in_flight=2))
TOGETHER = (("publish", "gateway"),)
TWO_WORKERS = Counted(ALL_OUT_CHANGING.plant, settings=(("workers", 2),))
LADDER = Sustained((50_000, 100_000, 150_000, 200_000, 250_000, 300_000))

ROWS = (
    Row("modbus-100x100", "Modbus, 100 machines x 100 points at 1 s", "µs/value", HUNDRED, "us_per_value", Wanted(at_most=1.5, of_telegraf=0.5), MODBUS),
    Row("modbus-20x100", "Modbus, 20 x 100 at 1 s", "µs/value", Steady(ModbusPlant(20, 100)), "us_per_value", Wanted(at_most=2), MODBUS),
    Row("modbus-1000x10", "Modbus, 1,000 connections x 10 at 1 s", "µs/value", Steady(ModbusPlant(1000, 10)), "us_per_value", Wanted(at_most=3.5), OPCUA),
    Row("modbus-100x100-together", "The same 100 x 100 with publish: gateway", "µs/value", Steady(HUNDRED.plant, TOGETHER), "us_per_value", Wanted(at_most=1.5)),
    Row("modbus-20x100-together", "The same 20 x 100 with publish: gateway", "µs/value", Steady(ModbusPlant(20, 100), TOGETHER), "us_per_value", Wanted(at_most=2)),
    Row("modbus-1000x10-together", "The same 1,000 x 10 with publish: gateway", "µs/value", Steady(ModbusPlant(1000, 10), TOGETHER), "us_per_value", Wanted(at_most=3.5)),
    Row("modbus-unchanged", "100 x 100 read, nothing changed", "µs/value", UNCHANGED, "us_per_value", Wanted(at_most=1)),
    Row("all-out", "All out, one process", "values/s", ALL_OUT, "values", Wanted(at_least=1_500_000)),
    Row("all-out-changing", "All out, every value different", "values/s", ALL_OUT_CHANGING, "values"),
    Row("all-out-workers", "All out, every value different, workers: 2", "values/s", TWO_WORKERS, "values"),
    Row("opcua-1000", "OPC UA, 1,000 changes a second", "µs/change", Steady(OpcUaPlant(1000, rate=1)), "us_per_value", Wanted(at_most=4), OPCUA),
    Row("opcua-10000", "OPC UA, 10,000 changes a second", "µs/change", Steady(OpcUaPlant(1000)), "us_per_value", Wanted(at_most=1.5), OPCUA),
    Row("broker-p50", "Scan to broker, 100 x 100, p50", "ms", HUNDRED, "p50", Wanted(at_most=15), MODBUS),
    Row("broker-p99", "Scan to broker, 100 x 100, p99", "ms", HUNDRED, "p99", Wanted(at_most=50), MODBUS),
    Row("stored-10000", "Scan to stored row, 10,000 values/s, p99", "ms", TEN_THOUSAND, "p99", Wanted(at_most=100)),
    Row("stored-100000", "Scan to stored row, 100,000 values/s, p99", "ms", HUNDRED_THOUSAND, "p99", Wanted(at_most=250)),
    Row("sustained", "Sustained to the store, nothing lost or missed", "values/s", LADDER, "values", Wanted(at_least=200_000)),
    Row("memory-10000", "Memory of the gateway, 10,000 points", "MB", HUNDRED, "memory", Wanted(at_most=60), MODBUS),
    Row("memory-100000", "Memory of the gateway, 100,000 points", "MB", HUNDRED_THOUSAND, "memory", Wanted(at_most=200)),
    Row("start-1000", "Start to first stored reading, 1,000 points", "s", Stored(ModbusPlant(10, 100)), "start", Wanted(at_most=1.5)),
)  # fmt: skip


def chosen(names: list[str]) -> list[Row]:
    """Return the rows with these names, all without names. Raises `ValueError` for an unknown name."""
    known = {row.name: row for row in ROWS}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no row {', '.join(unknown)}; rows are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] if names else list(ROWS)
