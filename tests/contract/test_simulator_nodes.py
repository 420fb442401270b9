"""What simulated OPC UA machines say of themselves: companion types, units, ranges; and who can read that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from asyncua import ua
from click.testing import CliRunner
from simulated import client_of, configure, connected, simulated

from gateway.acquisition.device_metadata import filled
from gateway.acquisition.groups import groups_of
from gateway.cli import main
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from asyncua import Client

    from drivers.base import PointMetadata
    from gateway.settings.factory import Factory, Machine

DI = "http://opcfoundation.org/UA/DI/"
MACHINERY = "http://opcfoundation.org/UA/Machinery/"
PACKML = "http://opcfoundation.org/UA/PackML/"
GENERAL = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
EXTRUDER = "http://opcfoundation.org/UA/PlasticsRubber/Extrusion/Extruder/"
IMM2MES = "http://opcfoundation.org/UA/PlasticsRubber/IMM2MES/"


def named(factory: Factory, name: str) -> Machine:
    return next(one for one in factory.machines if one.path.machine == name)


class Looker:
    """A client of another make than ours, that goes from name to name."""

    def __init__(self, client: Client, uris: Mapping[str, int]) -> None:
        self._client, self._uris = client, uris

    async def node(self, machine: Machine, *names: tuple[str, str]) -> Any:
        """Return a node below a machine, by names of specifications' namespaces."""
        own = machine.connection.namespace  # type: ignore[attr-defined]
        steps = [(MACHINERY, "Machines"), (own, machine.path.machine), *((uri or own, name) for uri, name in names)]
        path = [f"{self._uris[uri]}:{name}" for uri, name in steps]
        return await self._client.nodes.objects.get_child(path)

    async def kind(self, node: Any) -> tuple[str, int, str]:
        """Return the type of an object: namespace, number and name."""
        kind = self._client.get_node(await node.read_type_definition())
        uris = {index: uri for uri, index in self._uris.items()}
        name = await kind.read_browse_name()
        return uris[kind.nodeid.NamespaceIndex], kind.nodeid.Identifier, name.Name


async def looker(machine: Machine) -> tuple[Client, Looker]:
    client = await client_of(machine)
    return client, Looker(client, {uri: i for i, uri in enumerate(await client.get_namespace_array())})


async def test_machines_are_described_as_companion_specifications_say(tmp_path: Path):
    """OPC 40001-1 for the places and makers of machines, OPC 30050 for the state; units and ranges."""
    async with simulated(tmp_path, bundled_config() / "tire-plant.yaml") as factory:
        machine = named(factory, "extruder-01")
        client, look = await looker(machine)
        root = await look.node(machine)
        assert await look.kind(root) == (EXTRUDER, 1015, "Extruder_InterfaceType")
        about = await look.node(machine, (DI, "Identification"))
        assert await look.kind(about) == (MACHINERY, 1012, "MachineIdentificationType")
        serial = await look.node(machine, (DI, "Identification"), (DI, "SerialNumber"))
        assert await serial.read_value() == "SIM-extruder-01"
        status = await look.node(machine, ("", "PackMLStatus"))
        assert await look.kind(status) == (PACKML, 4, "PackMLStatusObjectType")
        state = await look.node(machine, ("", "PackMLStatus"), (PACKML, "StateCurrent"))
        states = await (await state.get_child("0:EnumValues")).read_value()
        assert {one.Value: one.DisplayName.Text for one in states}[6] == "execute"
        starved = await look.node(machine, ("", "PackMLStatus"), (PACKML, "EquipmentStarved"))
        assert await starved.read_value() is False
        pressure = await look.node(machine, (EXTRUDER, "MeltPressureZones"), ("", "Head"))
        unit = await (await pressure.get_child("0:EngineeringUnits")).read_value()
        assert (unit.UnitId, unit.DisplayName.Text) == (int.from_bytes(b"BAR", "big"), "bar")
        limits = await (await pressure.get_child("0:EURange")).read_value()
        assert (limits.Low, limits.High) == (0.0, 250.0)
        assert (await pressure.read_type_definition()).Identifier == ua.ObjectIds.AnalogItemType
        await client.disconnect()


async def test_a_moulding_machine_is_laid_out_after_euromap_77(tmp_path: Path):
    """Objects, types, and data types: counters without a sign, times in milliseconds."""
    async with simulated(tmp_path, bundled_config() / "appliance-plant.yaml") as factory:
        machine = named(factory, "imm-01")
        client, look = await looker(machine)
        assert await look.kind(await look.node(machine)) == (IMM2MES, 1007, "IMM_MES_InterfaceType")
        jobs = (IMM2MES, "Jobs"), (GENERAL, "ActiveJobValues")
        assert await look.kind(await look.node(machine, *jobs)) == (GENERAL, 1031, "ActiveCyclicJobValuesType")
        good = await look.node(machine, *jobs, (GENERAL, "JobGoodPartsCounter"))
        assert await good.read_data_type_as_variant_type() == ua.VariantType.UInt64
        last = await look.node(machine, *jobs, (GENERAL, "LastCycleTime"))
        assert (await last.read_data_type()).Identifier == ua.ObjectIds.Duration
        zone = (IMM2MES, "Moulds"), (GENERAL, "Mould_1"), (GENERAL, "TemperatureZones")
        one = await look.node(machine, *zone, (GENERAL, "MouldTemperatureZone_1"))
        assert await look.kind(one) == (GENERAL, 1034, "MouldTemperatureZoneType")
        present = await look.node(machine, *zone, (GENERAL, "MouldTemperatureZone_1"), (GENERAL, "IsPresent"))
        assert await present.read_value() is True
        kind = client.get_node(await (await look.node(machine, *zone)).read_type_definition())
        inside = [(await child.read_browse_name()).Name for child in await kind.get_children()]
        assert "MouldTemperatureZone_<Nr>" in inside, "a type says what is inside"
        await client.disconnect()


COMPANION = {
    "state", "mode", "cycle_count", "good_count", "reject_count", "cycle_time_last", "cycle_time_average", "order",
    "mould_id", "injection_time", "dosing_time", "cushion_stroke", "cushion_volume", "transfer_stroke",
    "pressure_maximum", "hold_pressure", "back_pressure",
}  # fmt: skip
"""Points of an injection moulding machine that specifications have a word for."""


@pytest.mark.parametrize("plant", ["tire-plant", "appliance-plant"])
async def test_browse_makes_the_template_of_a_simulated_machine_again(tmp_path: Path, plant: str):
    """Nodes, types, units, ranges and labels; our names wherever a specification has one."""
    async with simulated(tmp_path, bundled_config() / f"{plant}.yaml") as factory:
        machines = {one.template: one for one in factory.machines if one.protocol.name == "opcua"}
        for template, machine in machines.items():
            await (await client_of(machine)).disconnect()
            found = await browsed(machine, tmp_path / "machines" / f"{template}.yaml")
            by_node = {str(one["node"]): (name, one) for name, one in found.items()}
            for point in machine.points:
                name, one = by_node[str(point.source.node)]  # type: ignore[attr-defined]
                assert one["type"] == point.type.value, point.name
                assert one.get("unit", "") == point.unit, point.name
                assert one.get("scale", 1) == point.scale, point.name
                assert one.get("labels", {}) == point.labels, point.name
                if point.range is not None:
                    assert tuple(one["range"]) == point.range, point.name
                if template == "injection-moulding" and point.name in COMPANION:
                    assert name == point.name
            assert by_node["s=PackMLStatus.StateCurrent"][0] == "state"
            assert "machine_serial_number" in found


async def browsed(machine: Machine, file: Path) -> dict[str, Any]:
    """Return the points of a template that `lineside browse` makes of a machine."""
    file.parent.mkdir(exist_ok=True)
    connection: Any = machine.connection
    under = f"nsu={connection.namespace};s={machine.path.machine}"
    arguments = ["browse", f"{connection.url}?security=none", "--per-second", "1000", "--under", under]
    result = await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "--template", str(file)])
    assert result.exit_code == 0, result.output
    points: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))["points"]
    return points


WITHOUT_A_CODE = {"g.cm", "Pa/min", "uSv/h"}
"""Units that UN/CEFACT has no code for: a server gives them by their name alone."""

SCALED = {
    "time": {"type": "float", "scale": 0.001, "unit": "s", "range": [0, 10]},
    "length": {"type": "float", "scale": 0.1, "unit": "mm", "range": [-5, 20]},
    "warm": {"type": "float", "scale": 0.5, "offset": -20, "unit": "Cel", "range": [-20, 80]},
    "force": {"type": "float", "scale": 1000, "unit": "N", "range": [0, 5000]},
    "plain": {"type": "float", "unit": "bar", "range": [0, 10]},
}


async def test_a_scaled_points_node_is_described_as_the_device_holds_it(tmp_path: Path):
    """The metadata agree with the raw values that a gateway reads: their unit and range, or nothing."""
    points = {name: {"node": f"s={name}"} | keys for name, keys in SCALED.items()}
    machines = {"m1": {"template": "scaled", "connection": "opc.tcp://10.0.0.1?security=none&namespace=urn:m1"}}
    config = configure(tmp_path, {"scaled": {"protocol": "opcua", "points": points}}, machines)
    async with simulated(tmp_path, config) as factory:
        [machine] = factory.machines
        metadata = await described(machine)
    assert {name: one.unit for name, one in metadata.items()} == {
        "time": "ms", "length": "", "warm": "", "force": "kN", "plain": "bar",
    }  # fmt: skip
    assert metadata["time"].range == (0.0, 10_000.0)
    assert metadata["length"].range == (-50.0, 200.0)
    assert metadata["warm"].range == (0.0, 200.0)
    assert metadata["force"].range == (0.0, 5.0)


@pytest.mark.parametrize("plant", ["tire-plant", "appliance-plant"])
async def test_servers_describe_their_variables_as_the_templates_do(tmp_path: Path, plant: str):
    """A template without units and ranges gets those back."""
    async with simulated(tmp_path, bundled_config() / f"{plant}.yaml") as factory:
        for machine in [one for one in factory.machines if one.protocol.name == "opcua"]:
            metadata = await described(machine)
            bare = [point.model_copy(update={"range": None, "unit": "", "labels": {}}) for point in machine.points]
            again = filled(replace(machine, points=tuple(bare)), metadata)
            for point, one in zip(machine.points, again.points, strict=True):
                assert one.range == point.range, point.name
                assert one.labels == point.labels, point.name
                if point.scale == 1.0:
                    assert one.unit == ("" if point.unit in WITHOUT_A_CODE else point.unit), point.name


async def described(machine: Machine) -> dict[str, PointMetadata]:
    """Return the metadata that a server has of a machine's points, as the gateway's driver reads them."""
    groups = [group for group, _ in groups_of(machine)]
    metadata: dict[str, PointMetadata] = {}
    async with connected(machine, groups) as driver:
        for group in groups:
            metadata |= dict(zip(group.names, await driver.describe(group), strict=True))
    return metadata
