"""Machines of which only the points are known: every type of register has something plausible to show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from points import group_of

from drivers.base import Fault, Scan, ValueType
from drivers.modbus.codec import compile_registers
from drivers.modbus.raw_types import EIGHT_BITS, SHAPES, TEXTS, UNSIGNED, Order, Packing, Raw, fits_order
from drivers.modbus.source import ModbusSource
from gateway.pipeline.normalize import Normalizer
from gateway.settings.point import Point
from simulators.machines.generic import GenericMachine, signals_of
from simulators.machines.outputs import MachineOutputs
from simulators.modbus.registers import RegisterMap, Unit


def variants(raw: Raw) -> list[dict[str, Any]]:
    """Return the keys that a type allows."""
    if raw is Raw.BOOL:
        return [{"bit": 15}]
    if raw is Raw.STRING:
        return [
            {"length": length, "encoding": encoding, "packing": packing}
            for length in (2, 3, 16) for encoding in ("latin-1", "utf-8", "utf-16") for packing in Packing
        ]  # fmt: skip
    if raw in TEXTS:
        return [{"length": 3, "packing": packing} for packing in Packing]
    if raw in EIGHT_BITS:
        return [{"byte": "high"}, {"byte": "low", "not_available": 0x80}]
    found: list[dict[str, Any]] = [{"order": order} for order in Order if fits_order(raw, order)]
    if raw in UNSIGNED:
        found += [{"bits": "3..3"}, {"bits": "4..9"}]
    if SHAPES[raw].value_type is ValueType.INT:
        found += [{"range": [-5000000, 50]}, {"scale": 0.001}, {"labels": {0: "off", 1: "on", 2**62: "never"}}]
    if SHAPES[raw].value_type is ValueType.FLOAT:
        found += [{"range": [-20, 250], "not_available": -9999}]
    return found


def points() -> list[Point]:
    own = {"range", "scale", "labels"}
    found: list[Point] = []
    for raw in Raw:
        for keys in variants(raw):
            at = 20 * len(found)
            source = ModbusSource.model_validate(
                {"address": f"holding {at}", "raw": raw} | {key: keys[key] for key in keys.keys() - own}
            )
            rest = {key: keys[key] for key in keys.keys() & own}
            found.append(Point.model_validate({"name": f"p{len(found)}_{raw}", "source": source} | rest))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["a", "b"])
def test_a_generic_machine_serves_every_type(seed: str) -> None:
    """`lineside simulate` serves any template: its values must fit, and must be read as good."""
    chosen = points()
    machine = GenericMachine("press-01", seed, signals_of(chosen))
    unit = Unit()
    unit.add(RegisterMap(chosen), MachineOutputs(cast("Any", SimpleNamespace(points=chosen)), machine))
    normalizer, group = Normalizer(chosen), group_of(chosen)
    sources = [cast("ModbusSource", point.source) for point in chosen]
    decode = compile_registers([(source.address.offset, source) for source in sources])
    kinds = {ValueType.BOOL: bool, ValueType.INT: int, ValueType.FLOAT: float, ValueType.STRING: str}
    for step in range(40):
        (table,) = [table for table in unit.tables.values() if table]
        values = decode(b"".join(register.to_bytes(2, "big") for register in table))
        assert [value for value in values if isinstance(value, Fault)] == []
        scan = Scan(group, step + 1, values)
        normalizer.apply(scan)
        assert scan.faults == {}
        assert [type(value) for value in scan.values] == [kinds[point.type] for point in chosen]
        machine.step(37.0)
        unit.refresh()
    names = {point.name for point in chosen}
    assert set(machine.read()) == names
