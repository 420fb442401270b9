"""The machine types that have a model: one file per type, one line in `MODELS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.machines.models.bead_winder import BeadWinder
from simulators.machines.models.calender import Calender
from simulators.machines.models.curing_press import CuringPress
from simulators.machines.models.electrical_safety import ElectricalSafety
from simulators.machines.models.evacuation_charge import EvacuationCharge
from simulators.machines.models.foaming_station import FoamingStation
from simulators.machines.models.injection_moulding import InjectionMoulding
from simulators.machines.models.internal_mixer import InternalMixer
from simulators.machines.models.leak_test import LeakTest
from simulators.machines.models.packing_station import PackingStation
from simulators.machines.models.run_test import RunTest
from simulators.machines.models.sheet_metal_press import SheetMetalPress
from simulators.machines.models.thermoformer import Thermoformer
from simulators.machines.models.tire_building_machine import TireBuildingMachine
from simulators.machines.models.tread_extruder import TreadExtruder
from simulators.machines.models.uniformity_machine import UniformityMachine
from simulators.machines.models.xray_machine import XrayMachine

if TYPE_CHECKING:
    from simulators.machines.machine import Machine

MODELS: dict[str, type[Machine]] = {
    "bead-winder": BeadWinder,
    "calender": Calender,
    "curing-press": CuringPress,
    "electrical-safety": ElectricalSafety,
    "evacuation-charge": EvacuationCharge,
    "foaming-station": FoamingStation,
    "injection-moulding": InjectionMoulding,
    "internal-mixer": InternalMixer,
    "leak-test": LeakTest,
    "packing-station": PackingStation,
    "run-test": RunTest,
    "sheet-metal-press": SheetMetalPress,
    "thermoformer": Thermoformer,
    "tire-building-machine": TireBuildingMachine,
    "tread-extruder": TreadExtruder,
    "uniformity-machine": UniformityMachine,
    "xray-machine": XrayMachine,
}
"""Template name -> model."""
