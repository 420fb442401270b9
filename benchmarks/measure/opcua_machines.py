"""The OPC UA server of a measurement: the replay of `replayed_opcua.py`, in a process of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import replayed_opcua

from measure.plant import NAMESPACE

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from measure.plant import OpcUaPlant

DESCRIPTION = "an OPC UA server that replays encoded changes (benchmarks/replayed_opcua.py)"


def serve(plant: OpcUaPlant, port: int, ready: Event) -> None:
    """Serve nodes that count at the rate of a plant, until the process is killed."""
    lost: Any = SimpleNamespace(value=0)  # nobody else reads it
    replayed_opcua.serve(port, NAMESPACE, plant.rate, ready, lost)
