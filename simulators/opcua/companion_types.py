"""Object types of companion specifications that simulated machines use: numbers, names and declarations.

OPC 40001-1 (Machinery), OPC 30050 (PackML), OPC 40083 and 40077 (EUROMAP 83 and 77), OPC 40084-3 (extruders). Numbers
and names are those of the published information models. The declarations are limited to variables and objects that a
machine without an operator can show: no methods, and no messages between a machine and a MES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.packml import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivers.base import Value
    from gateway.settings.factory import Machine as Configured

    StaticValue = Callable[[Configured], Value]
    """Configured machine -> constant value."""

    LiveValue = Callable[[Mapping[str, Value | None]], Value]
    """Values of the machine's points -> value derived from them."""

DI = "http://opcfoundation.org/UA/DI/"
MACHINERY = "http://opcfoundation.org/UA/Machinery/"
PACKML = "http://opcfoundation.org/UA/PackML/"
GENERAL = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"
IMM2MES = "http://opcfoundation.org/UA/PlasticsRubber/IMM2MES/"
EXTRUSION = "http://opcfoundation.org/UA/PlasticsRubber/Extrusion/GeneralTypes/"
EXTRUDER = "http://opcfoundation.org/UA/PlasticsRubber/Extrusion/Extruder/"


@dataclass(frozen=True, slots=True)
class Declaration:
    """An instance declaration: an object of `type_`, or a variable of the OPC UA data type `data`.

    A name that ends with `_` stands for numbered names. A variable without a point shows `static` or `live`, or is
    left out; an object without points is added if `always`.
    """

    uri: str
    name: str
    data: str = ""
    type_: ObjectType | None = None
    static: StaticValue | None = None
    live: LiveValue | None = None
    always: bool = False


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object type: its number and name in the namespace of its specification, and its supertype."""

    uri: str
    number: int
    name: str
    members: tuple[Declaration, ...] = ()
    supertype: ObjectType | None = None

    def member(self, name: str) -> Declaration | None:
        """Return the declaration of that name, inherited or not; None if there is none."""
        for member in self.members:
            if member.name in {name, name.rstrip("0123456789")}:
                return member
        return self.supertype.member(name) if self.supertype is not None else None

    def all_members(self) -> tuple[Declaration, ...]:
        """Return all declarations, inherited declarations first."""
        return (*self.supertype.all_members(), *self.members) if self.supertype is not None else self.members


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


_ITEM = ObjectType(MACHINERY, 1004, "MachineryItemIdentificationType", (
    Declaration(DI, "Manufacturer", "LocalizedText", static=_manufacturer),
    Declaration(DI, "Model", "LocalizedText", static=_model),
    Declaration(DI, "SerialNumber", "String", static=serial_number),
))  # fmt: skip
IDENTIFICATION = ObjectType(MACHINERY, 1012, "MachineIdentificationType", (
    Declaration(DI, "ProductInstanceUri", "String", static=_instance),
    Declaration(MACHINERY, "Location", "String", static=_place),
), _ITEM)  # fmt: skip

PACKML_STATUS = ObjectType(PACKML, 4, "PackMLStatusObjectType", (
    Declaration(PACKML, "StateCurrent", "Int32"),
    Declaration(PACKML, "UnitModeCurrent", "Int32"),
    Declaration(PACKML, "CurMachSpeed", "Float", live=_speed),
    Declaration(PACKML, "EquipmentBlocked", "Boolean", live=_blocked),
    Declaration(PACKML, "EquipmentStarved", "Boolean", live=_starved),
))  # fmt: skip

_ZONE = ObjectType(GENERAL, 1030, "TemperatureZoneType", (
    Declaration(GENERAL, "Index", "UInt32"),
    Declaration(GENERAL, "Name", "String"),
    Declaration(GENERAL, "IsPresent", "Boolean", static=lambda _: True),
    Declaration(GENERAL, "ActualTemperature", "Double"),
    Declaration(GENERAL, "NominalTemperature", "Double"),
))  # fmt: skip
_BARREL_ZONE = ObjectType(GENERAL, 1001, "BarrelTemperatureZoneType", (), _ZONE)
_MOULD_ZONE = ObjectType(GENERAL, 1034, "MouldTemperatureZoneType", (), _ZONE)
_ZONES = ObjectType(GENERAL, 1055, "TemperatureZonesType", (
    Declaration(GENERAL, "BarrelTemperatureZone_", type_=_BARREL_ZONE),
    Declaration(GENERAL, "MouldTemperatureZone_", type_=_MOULD_ZONE),
    Declaration(GENERAL, "TemperatureZone_", type_=_ZONE),
))  # fmt: skip
_MOULD = ObjectType(GENERAL, 1029, "MouldType", (
    Declaration(GENERAL, "Id", "String"),
    Declaration(GENERAL, "Description", "String"),
    Declaration(GENERAL, "Index", "UInt32"),
    Declaration(GENERAL, "IsPresent", "Boolean", static=lambda _: True),
    Declaration(GENERAL, "TemperatureZones", type_=_ZONES, always=True),
))  # fmt: skip
_MOULDS = ObjectType(GENERAL, 1050, "MouldsType", (Declaration(GENERAL, "Mould_", type_=_MOULD),))
_JOB_INFORMATION = ObjectType(GENERAL, 1037, "JobInformationType", (
    Declaration(GENERAL, "JobName", "String"),
    Declaration(GENERAL, "JobDescription", "String"),
    Declaration(GENERAL, "ProductName", "String"),
    Declaration(GENERAL, "Material", "String"),
))  # fmt: skip
_JOB = ObjectType(GENERAL, 1024, "CyclicJobInformationType", (
    Declaration(GENERAL, "MouldId", "String"),
    Declaration(GENERAL, "NominalParts", "UInt64"),
), _JOB_INFORMATION)  # fmt: skip
_VALUES = ObjectType(GENERAL, 1021, "ActiveJobValuesType", (Declaration(GENERAL, "CurrentLotName", "String"),))
_CYCLIC_VALUES = ObjectType(GENERAL, 1031, "ActiveCyclicJobValuesType", (
    Declaration(GENERAL, "JobCycleCounter", "UInt64"),
    Declaration(GENERAL, "JobPartsCounter", "UInt64"),
    Declaration(GENERAL, "JobGoodPartsCounter", "UInt64"),
    Declaration(GENERAL, "JobBadPartsCounter", "UInt64"),
    Declaration(GENERAL, "JobTestSamplesCounter", "UInt64"),
    Declaration(GENERAL, "LastCycleTime", "Duration"),
    Declaration(GENERAL, "AverageCycleTime", "Duration"),
), _VALUES)  # fmt: skip
_JOBS = ObjectType(GENERAL, 1032, "JobsType", (
    Declaration(GENERAL, "ActiveJob", type_=_JOB, always=True),
    Declaration(GENERAL, "ActiveJobValues", type_=_CYCLIC_VALUES, always=True),
))  # fmt: skip
_MACHINE = ObjectType(GENERAL, 1009, "MachineInformationType", (
    Declaration(GENERAL, "ControllerName", "String", static=_manufacturer),
    Declaration(DI, "DeviceClass", "String", static=lambda _: "Injection Moulding Machine"),
    Declaration(DI, "Manufacturer", "LocalizedText", static=_manufacturer),
    Declaration(DI, "Model", "LocalizedText", static=_model),
))  # fmt: skip
_CONFIGURATION = ObjectType(GENERAL, 1016, "MachineConfigurationType", (
    Declaration(GENERAL, "UserMachineName", "String", static=_name),
    Declaration(GENERAL, "LocationName", "String", static=_place),
))  # fmt: skip

_UNIT = ObjectType(IMM2MES, 1028, "InjectionUnitType", (
    Declaration(IMM2MES, "Index", "UInt32"),
    Declaration(IMM2MES, "IsPresent", "Boolean", static=lambda _: True),
    Declaration(IMM2MES, "InProduction", "Boolean", live=lambda values: values.get("state") == State.EXECUTE),
    Declaration(IMM2MES, "TemperatureZones", type_=_ZONES, always=True),
))  # fmt: skip
_UNITS = ObjectType(IMM2MES, 1016, "InjectionUnitsType", (Declaration(IMM2MES, "InjectionUnit_", type_=_UNIT),))
_CYCLE = ObjectType(IMM2MES, 1039, "InjectionUnitCycleParametersType", (
    Declaration(IMM2MES, "Index", "UInt32"),
    *(Declaration(IMM2MES, name, "Duration") for name in ("InjectionTime", "DosingTime")),
    *(Declaration(IMM2MES, name, "Double") for name in (
        "BackPressure", "CushionStroke", "CushionVolume", "HoldSpecificPressureAverage", "PlastificationVolume",
        "SpecificPressureMaximum", "TransferStroke",
    )),
))  # fmt: skip
_MOULDING = ObjectType(IMM2MES, 1007, "IMM_MES_InterfaceType", (
    Declaration(IMM2MES, "InjectionUnits", type_=_UNITS, always=True),
    Declaration(IMM2MES, "Jobs", type_=_JOBS, always=True),
    Declaration(IMM2MES, "MachineConfiguration", type_=_CONFIGURATION, always=True),
    Declaration(IMM2MES, "MachineInformation", type_=_MACHINE, always=True),
    Declaration(IMM2MES, "Moulds", type_=_MOULDS, always=True),
))  # fmt: skip

_DEVICES = ObjectType(GENERAL, 1065, "MeasuringDevicesType")
_EXTRUSION_ZONES = ObjectType(EXTRUSION, 1017, "ExtrusionTemperatureZonesType")
_EXTRUDER = ObjectType(EXTRUDER, 1015, "Extruder_InterfaceType", (
    Declaration(EXTRUDER, "TemperatureZones", type_=_EXTRUSION_ZONES, always=True),
    Declaration(EXTRUDER, "MeltTemperatureZones", type_=_DEVICES),
    Declaration(EXTRUDER, "MeltPressureZones", type_=_DEVICES),
    Declaration(EXTRUDER, "MainDrive", type_=ObjectType(GENERAL, 1068, "DriveType")),
))  # fmt: skip

MACHINE_TYPES = {"injection-moulding": _MOULDING, "tread-extruder": _EXTRUDER}
"""Template -> type of the machine's object; other machines are plain objects."""

TYPES_BY_NAME = {
    "PackMLStatus": PACKML_STATUS,
    # EUROMAP 77 sends these in an event; a machine that shows those of its last shot as variables keeps the name
    "InjectionUnitCycleParameters_": _CYCLE,
}
"""Types of objects directly below a machine, by browse name."""
