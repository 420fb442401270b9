"""Types of companion specifications, as far as simulated machines show them: numbers, names, and what is inside.

OPC 40001-1 (Machinery), OPC 30050 (PackML), OPC 40083 and 40077 (EUROMAP 83 and 77), OPC 40084-3 (extruders). Numbers
and names are those of the published information models. Of a type's members those are here that a machine without an
operator can show: no methods, and nothing of messages between a machine and a MES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.machines.packml import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivers.base import Value
    from gateway.settings.factory import Machine as Configured

    Static = Callable[[Configured], Value]
    """A machine -> what is always so."""

    Live = Callable[[Mapping[str, Value | None]], Value]
    """What a machine shows -> what follows from it."""

DI = "http://opcfoundation.org/UA/DI/"
MACHINERY = "http://opcfoundation.org/UA/Machinery/"
PACKML = "http://opcfoundation.org/UA/PackML/"
GENERAL = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
IMM2MES = "http://opcfoundation.org/UA/PlasticsRubber/IMM2MES/"
EXTRUSION = "http://opcfoundation.org/UA/PlasticsRubber/Extrusion/GeneralTypes/"
EXTRUDER = "http://opcfoundation.org/UA/PlasticsRubber/Extrusion/Extruder/"


@dataclass(frozen=True, slots=True)
class Member:
    """What is inside an object of a type: an object of a `kind`, or a variable of a data type of OPC UA's (`data`).

    A name that ends with `_` stands for numbered ones. Where no point stands there, a variable shows `static` or
    `live`, or is not there; an object is there if `always`.
    """

    uri: str
    name: str
    data: str = ""
    kind: Kind | None = None
    static: Static | None = None
    live: Live | None = None
    always: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of objects: its number and name in the namespace of its specification, and the type above it."""

    uri: str
    number: int
    name: str
    members: tuple[Member, ...] = ()
    above: Kind | None = None

    def member(self, name: str) -> Member | None:
        """Return the member of that name."""
        for one in self.members:
            if one.name in {name, name.rstrip("0123456789")}:
                return one
        return self.above.member(name) if self.above is not None else None

    def all_members(self) -> tuple[Member, ...]:
        """Return the members, those of the types above first."""
        return (*self.above.all_members(), *self.members) if self.above is not None else self.members


def serial_number(machine: Configured) -> Value:
    """Return the serial number of a simulated machine."""
    return f"SIM-{machine.path.machine}"


def _manufacturer(_: Configured) -> Value:
    return "Lineside simulator"


def _model(machine: Configured) -> Value:
    return machine.template


def _place(machine: Configured) -> Value:
    return f"{machine.path.site}/{machine.path.area}/{machine.path.line}"


def _instance(machine: Configured) -> Value:
    return f"urn:lineside:simulated:{machine.path.site}:{machine.path.machine}"


def _name(machine: Configured) -> Value:
    return machine.path.machine


def _starved(values: Mapping[str, Value | None]) -> Value:
    return values.get("state") == State.SUSPENDED and not values.get("serial_number")


def _blocked(values: Mapping[str, Value | None]) -> Value:
    return values.get("state") == State.SUSPENDED and bool(values.get("serial_number"))


def _speed(values: Mapping[str, Value | None]) -> Value:
    """Return parts a minute: those of the last cycle while the machine is in Execute."""
    last = values.get("cycle_time_last")
    working = values.get("state") == State.EXECUTE
    return round(60.0 / last, 3) if working and isinstance(last, float) and last > 0.0 else 0.0


_ITEM = Kind(MACHINERY, 1004, "MachineryItemIdentificationType", (
    Member(DI, "Manufacturer", "LocalizedText", static=_manufacturer),
    Member(DI, "Model", "LocalizedText", static=_model),
    Member(DI, "SerialNumber", "String", static=serial_number),
))  # fmt: skip
IDENTIFICATION = Kind(MACHINERY, 1012, "MachineIdentificationType", (
    Member(DI, "ProductInstanceUri", "String", static=_instance),
    Member(MACHINERY, "Location", "String", static=_place),
), _ITEM)  # fmt: skip

PACKML_STATUS = Kind(PACKML, 4, "PackMLStatusObjectType", (
    Member(PACKML, "StateCurrent", "Int32"),
    Member(PACKML, "UnitModeCurrent", "Int32"),
    Member(PACKML, "CurMachSpeed", "Float", live=_speed),
    Member(PACKML, "EquipmentBlocked", "Boolean", live=_blocked),
    Member(PACKML, "EquipmentStarved", "Boolean", live=_starved),
))  # fmt: skip

_ZONE = Kind(GENERAL, 1030, "TemperatureZoneType", (
    Member(GENERAL, "Index", "UInt32"),
    Member(GENERAL, "Name", "String"),
    Member(GENERAL, "IsPresent", "Boolean", static=lambda _: True),
    Member(GENERAL, "ActualTemperature", "Double"),
    Member(GENERAL, "NominalTemperature", "Double"),
))  # fmt: skip
_BARREL_ZONE = Kind(GENERAL, 1001, "BarrelTemperatureZoneType", (), _ZONE)
_MOULD_ZONE = Kind(GENERAL, 1034, "MouldTemperatureZoneType", (), _ZONE)
_ZONES = Kind(GENERAL, 1055, "TemperatureZonesType", (
    Member(GENERAL, "BarrelTemperatureZone_", kind=_BARREL_ZONE),
    Member(GENERAL, "MouldTemperatureZone_", kind=_MOULD_ZONE),
    Member(GENERAL, "TemperatureZone_", kind=_ZONE),
))  # fmt: skip
_MOULD = Kind(GENERAL, 1029, "MouldType", (
    Member(GENERAL, "Id", "String"),
    Member(GENERAL, "Description", "String"),
    Member(GENERAL, "Index", "UInt32"),
    Member(GENERAL, "IsPresent", "Boolean", static=lambda _: True),
    Member(GENERAL, "TemperatureZones", kind=_ZONES, always=True),
))  # fmt: skip
_MOULDS = Kind(GENERAL, 1050, "MouldsType", (Member(GENERAL, "Mould_", kind=_MOULD),))
_JOB_INFORMATION = Kind(GENERAL, 1037, "JobInformationType", (
    Member(GENERAL, "JobName", "String"),
    Member(GENERAL, "JobDescription", "String"),
    Member(GENERAL, "ProductName", "String"),
    Member(GENERAL, "Material", "String"),
))  # fmt: skip
_JOB = Kind(GENERAL, 1024, "CyclicJobInformationType", (
    Member(GENERAL, "MouldId", "String"),
    Member(GENERAL, "NominalParts", "UInt64"),
), _JOB_INFORMATION)  # fmt: skip
_VALUES = Kind(GENERAL, 1021, "ActiveJobValuesType", (Member(GENERAL, "CurrentLotName", "String"),))
_CYCLIC_VALUES = Kind(GENERAL, 1031, "ActiveCyclicJobValuesType", (
    Member(GENERAL, "JobCycleCounter", "UInt64"),
    Member(GENERAL, "JobPartsCounter", "UInt64"),
    Member(GENERAL, "JobGoodPartsCounter", "UInt64"),
    Member(GENERAL, "JobBadPartsCounter", "UInt64"),
    Member(GENERAL, "JobTestSamplesCounter", "UInt64"),
    Member(GENERAL, "LastCycleTime", "Duration"),
    Member(GENERAL, "AverageCycleTime", "Duration"),
), _VALUES)  # fmt: skip
_JOBS = Kind(GENERAL, 1032, "JobsType", (
    Member(GENERAL, "ActiveJob", kind=_JOB, always=True),
    Member(GENERAL, "ActiveJobValues", kind=_CYCLIC_VALUES, always=True),
))  # fmt: skip
_MACHINE = Kind(GENERAL, 1009, "MachineInformationType", (
    Member(GENERAL, "ControllerName", "String", static=_manufacturer),
    Member(DI, "DeviceClass", "String", static=lambda _: "Injection Moulding Machine"),
    Member(DI, "Manufacturer", "LocalizedText", static=_manufacturer),
    Member(DI, "Model", "LocalizedText", static=_model),
))  # fmt: skip
_CONFIGURATION = Kind(GENERAL, 1016, "MachineConfigurationType", (
    Member(GENERAL, "UserMachineName", "String", static=_name),
    Member(GENERAL, "LocationName", "String", static=_place),
))  # fmt: skip

_UNIT = Kind(IMM2MES, 1028, "InjectionUnitType", (
    Member(IMM2MES, "Index", "UInt32"),
    Member(IMM2MES, "IsPresent", "Boolean", static=lambda _: True),
    Member(IMM2MES, "InProduction", "Boolean", live=lambda values: values.get("state") == State.EXECUTE),
    Member(IMM2MES, "TemperatureZones", kind=_ZONES, always=True),
))  # fmt: skip
_UNITS = Kind(IMM2MES, 1016, "InjectionUnitsType", (Member(IMM2MES, "InjectionUnit_", kind=_UNIT),))
_CYCLE = Kind(IMM2MES, 1039, "InjectionUnitCycleParametersType", (
    Member(IMM2MES, "Index", "UInt32"),
    *(Member(IMM2MES, name, "Duration") for name in ("InjectionTime", "DosingTime")),
    *(Member(IMM2MES, name, "Double") for name in (
        "BackPressure", "CushionStroke", "CushionVolume", "HoldSpecificPressureAverage", "PlastificationVolume",
        "SpecificPressureMaximum", "TransferStroke",
    )),
))  # fmt: skip
_MOULDING = Kind(IMM2MES, 1007, "IMM_MES_InterfaceType", (
    Member(IMM2MES, "InjectionUnits", kind=_UNITS, always=True),
    Member(IMM2MES, "Jobs", kind=_JOBS, always=True),
    Member(IMM2MES, "MachineConfiguration", kind=_CONFIGURATION, always=True),
    Member(IMM2MES, "MachineInformation", kind=_MACHINE, always=True),
    Member(IMM2MES, "Moulds", kind=_MOULDS, always=True),
))  # fmt: skip

_DEVICES = Kind(GENERAL, 1065, "MeasuringDevicesType")
_EXTRUDER = Kind(EXTRUDER, 1015, "Extruder_InterfaceType", (
    Member(EXTRUDER, "TemperatureZones", kind=Kind(EXTRUSION, 1017, "ExtrusionTemperatureZonesType"), always=True),
    Member(EXTRUDER, "MeltTemperatureZones", kind=_DEVICES),
    Member(EXTRUDER, "MeltPressureZones", kind=_DEVICES),
    Member(EXTRUDER, "MainDrive", kind=Kind(GENERAL, 1068, "DriveType")),
))  # fmt: skip

MACHINE_KINDS = {"injection-moulding": _MOULDING, "tread-extruder": _EXTRUDER}
"""Template -> type of the machine's object; a plain object elsewhere."""

OF_ANY_MACHINE = {
    "PackMLStatus": PACKML_STATUS,
    # EUROMAP 77 has it in an event; a machine that shows its last shot's as variables keeps the name
    "InjectionUnitCycleParameters_": _CYCLE,
}
"""Objects below any machine whose names say of which type they are."""
