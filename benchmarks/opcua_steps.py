"""Measure the time of each step from a message of an OPC UA server to its record, without I/O.

A message has a change of every point, each with a source time of its own, as `replayed_opcua.py` sends it. With `--cold`
64 MB are written before each step, as other processes do between two messages. Prints medians in microseconds.

    python benchmarks/opcua_steps.py [--points 1000] [--rounds 300] [--cold]
"""

from __future__ import annotations

import argparse
import struct
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from asyncua import ua
from replayed_changes import Subscription, header, ticks

from drivers.base import Group
from drivers.opcua.codec.change_layouts import ChangeLayouts
from drivers.opcua.codec.publish_response import publish_response
from drivers.opcua.counters import Counters
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.scan_builder import ScanBuilder
from gateway.codecs.json import JsonCodec
from gateway.model.ledger import Ledger
from gateway.model.record import Record
from gateway.pipeline.normalize import TrustedTime
from gateway.pipeline.pipeline import Pipeline
from gateway.settings.point import Point

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.opcua.codec.data_changes import DataChanges
    from gateway.model.reading import NamedScan

CACHE = 64 * 2**20

_PUBLISH = ua.ObjectIds.PublishResponse_Encoding_DefaultBinary


class Steps:
    """The steps of one group; each takes the result of the step before."""

    def __init__(self, points: int) -> None:
        names = tuple(f"value_{i:04d}" for i in range(points))
        sources = tuple(OpcUaSource.model_validate({"node": f"ns=2;s={name}"}) for name in names)
        connection = OpcUaConnection.from_url("opc.tcp://127.0.0.1", {"security": "none"})
        group = Group("press", connection, names, sources, 1.0, pushed=True)
        configured = [
            Point.model_validate({"name": name, "type": "float", "source": source})
            for name, source in zip(names, sources, strict=True)
        ]
        self._server = Subscription(1)
        self._server.handles = list(range(points))
        self._layouts = ChangeLayouts()
        self._builder = ScanBuilder(Counters(), {group: {}})
        for position in range(points):
            self._builder.add(group, position, ua.NodeId(position, 2))
        self._named: NamedScan | None = None
        self._pipeline = Pipeline(configured, TrustedTime(), None, Ledger(), self._put)
        self._codec = JsonCodec()

    def _put(self, named: NamedScan, _: int) -> None:
        self._named = named

    def message(self, turn: int) -> bytes:
        """Return the next publish response of the server."""
        self._server.put(turn, ticks())
        parts = header(_PUBLISH, 1), struct.pack("<IiB", 1, -1, 0), self._server.notification()
        return b"".join((*parts, struct.pack("<ii", 0, -1)))

    def decode(self, message: bytes) -> DataChanges:
        return publish_response(message, self._layouts).message.changes

    def build(self, changes: DataChanges) -> Any:
        [scan] = self._builder.scans(changes, time.time_ns() // 1000)
        return scan

    def take(self, scan: Any) -> NamedScan:
        self._pipeline.take(scan)
        assert self._named is not None
        return self._named

    def encode(self, named: NamedScan) -> bytes:
        return self._codec.encode(Record("edge", "abcd", 1, [named]))


def measure(steps: Steps, rounds: int, *, cold: bool) -> dict[str, list[int]]:
    """Return the nanoseconds of each step, in each round."""
    taken: dict[str, list[int]] = {
        step.__name__: [] for step in (steps.decode, steps.build, steps.take, steps.encode)
    }
    cache = bytearray(CACHE)
    for turn in range(rounds):
        passed: Any = steps.message(turn)
        for name, found in taken.items():
            if cold:
                cache[:: 2**6] = bytes([turn % 256]) * (CACHE // 2**6)
            step: Callable[[Any], Any] = getattr(steps, name)
            began = time.perf_counter_ns()
            passed = step(passed)
            found.append(time.perf_counter_ns() - began)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    taken = measure(Steps(options.points), options.rounds, cold=options.cold)
    figures = {name: median(found) / 1000 for name, found in taken.items()}
    for name, figure in figures.items():
        print(f"{name:8}{figure:8.0f} µs")
    print(f"{'together':8}{sum(figures.values()):8.0f} µs")


if __name__ == "__main__":
    main()
