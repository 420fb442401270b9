"""Maps names of companion specifications to names of points.

PackML (OPC 30050, and the tags of ANSI/ISA-TR88.00.02), Machinery (OPC 40001-1), EUROMAP 77 (OPC 40077) with the
general types of OPC 40083. A name counts if it is in the specification's namespace, or below an object of one of its
types: servers that implement a type often keep its browse names in a namespace of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from drivers.packml import Mode, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKML = "http://opcfoundation.org/UA/PackML/"
MACHINERY = "http://opcfoundation.org/UA/Machinery/"
IMM2MES = "http://opcfoundation.org/UA/PlasticsRubber/IMM2MES/"
PLASTICS = "http://opcfoundation.org/UA/PlasticsRubber/GeneralTypes/"

TITLES = {PACKML: "PackML", MACHINERY: "Machinery", IMM2MES: "EUROMAP 77", PLASTICS: "EUROMAP 83"}
"""Titles of specifications, by namespace."""

_STATES = {int(state): state.name.lower() for state in State}
_MODES = {int(mode): mode.name.lower() for mode in Mode}


class Qualified(NamedTuple):
    """A browse name, of a node or of a type, with the URI of its namespace."""

    uri: str
    name: str


@dataclass(frozen=True, slots=True)
class Known:
    """The name of a point, and the labels of its numbers if the server has none."""

    name: str
    labels: Mapping[int, str] = field(default_factory=dict)


def _names(**names: str) -> dict[str, Known]:
    return {theirs: Known(ours) for theirs, ours in names.items()}


_PLASTICS = _names(
    LastCycleTime="cycle_time_last",
    CycleTime="cycle_time_last",
    AverageCycleTime="cycle_time_average",
    JobCycleCounter="cycle_count",
    MachineCycleCounter="machine_cycle_count",
    JobPartsCounter="part_count",
    JobGoodPartsCounter="good_count",
    JobBadPartsCounter="reject_count",
    JobTestSamplesCounter="test_sample_count",
    MachineMode="mode",
    CurrentLotName="lot",
) | {
    "ActiveJob/JobName": Known("order"),
    "ActiveJob/MouldId": Known("order_mould_id"),
    "JobInPreparation/JobName": Known("next_order"),
    "MouldType/Id": Known("mould_id"),
    "MachineInformationType/SerialNumber": Known("machine_serial_number"),
}

_INJECTION = _names(
    BackPressure="back_pressure",
    CushionStroke="cushion_stroke",
    CushionVolume="cushion_volume",
    DosingTime="dosing_time",
    HoldSpecificPressureAverage="hold_pressure",
    InjectionTime="injection_time",
    SpecificPressureMaximum="pressure_maximum",
    TransferStroke="transfer_stroke",
)

_PACKML = _names(
    CurMachSpeed="speed",
    MachSpeed="speed_set",
    MachDesignSpeed="speed_design",
    EquipmentBlocked="blocked",
    EquipmentStarved="starved",
    StateRequested="state_requested",
    UnitModeRequested="mode_requested",
    ProdConsumedCount="consumed_count",
    ProdProcessedCount="part_count",
    ProdDefectiveCount="reject_count",
) | {
    "StateCurrent": Known("state", _STATES),
    "UnitModeCurrent": Known("mode", _MODES),
    "PackMLBaseStateMachineType/CurrentState": Known("base_state"),
    "PackMLMachineStateMachineType/CurrentState": Known("machine_state"),
    "PackMLExecuteStateMachineType/CurrentState": Known("execute_state"),
}

_MACHINERY = _names(
    OperationCycleCounter="cycle_count", OperationDuration="operation_time", PowerOnDuration="power_on_time"
) | {
    "MachineryItemState_StateMachineType/CurrentState": Known("state"),
    "MachineryOperationModeStateMachineType/CurrentState": Known("mode"),
    "MachineIdentificationType/SerialNumber": Known("machine_serial_number"),
    "MachineryItemIdentificationType/SerialNumber": Known("machine_serial_number"),
}

NAMES: dict[str, dict[str, Known]] = {
    PACKML: _PACKML,
    MACHINERY: _MACHINERY,
    PLASTICS: _PLASTICS,
    IMM2MES: _PLASTICS | _INJECTION,
}
"""Points by namespace and name. An ambiguous name has the type or the name of its parent object as a prefix."""


def known(name: Qualified, parents: Sequence[tuple[Qualified, Sequence[Qualified]]]) -> Known | None:
    """Return the name of a node's point, None if no known specification defines the node.

    `parents` are the nodes above it, the nearest first: the name of each, and its type followed by its supertypes.
    """
    specifications = {name.uri} | {one.uri for above, types in parents for one in (above, *types)}
    keys = [name.name]
    if parents:
        above, types = parents[0]
        keys = [
            f"{one}/{name.name}" for one in (*(kind.name for kind in types), above.name.rpartition(".")[2])
        ] + keys
    tables = [NAMES[uri] for uri in NAMES if uri in specifications]
    return next((table[key] for key in keys for table in tables if key in table), None)
