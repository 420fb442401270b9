"""The machine types that have a model: one file a type, one line in `MODELS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.models.bead_winder import BeadWinder
from simulators.models.calender import Calender
from simulators.models.curing_press import CuringPress
from simulators.models.electrical_safety import ElectricalSafety
from simulators.models.evacuation_charge import EvacuationCharge
from simulators.models.foaming_station import FoamingStation
from simulators.models.injection_moulding import InjectionMoulding
from simulators.models.internal_mixer import InternalMixer
from simulators.models.leak_test import LeakTest
from simulators.models.packing_station import PackingStation
from simulators.models.run_test import RunTest
from simulators.models.sheet_metal_press import SheetMetalPress
from simulators.models.thermoformer import Thermoformer
from simulators.models.tire_building_machine import TireBuildingMachine
from simulators.models.tread_extruder import TreadExtruder
from simulators.models.uniformity_machine import UniformityMachine
from simulators.models.xray_machine import XrayMachine

if TYPE_CHECKING:
    from simulators.machine import Machine

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
