"""The OPC UA server of a measurement: the replay of `replayed_opcua.py`, in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import replayed_opcua

from measure.plant import NAMESPACE
from measure.processes import SPAWN

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from measure.plant import OpcUaPlant

DESCRIPTION = "an OPC UA server that replays encoded changes (benchmarks/replayed_opcua.py)"


def serve(plant: OpcUaPlant, port: int, ready: Event) -> None:
    """Serve nodes that count at the rate of a plant, until the process is killed."""
    replayed_opcua.serve(port, NAMESPACE, plant.rate, ready, SPAWN.Value("q", 0))
