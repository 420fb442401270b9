"""Measure the cost of each step of the flow, in processor time per scan of 100 points, without I/O."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drivers.base import Group, Scan
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.plan import Limits, plan
from drivers.modbus.source import ModbusSource
from gateway.codecs import CODECS
from gateway.model.reading import name_scan
from gateway.model.record import Record
from gateway.pipeline.normalize import Normalizer
from gateway.pipeline.report_by_exception import ReportByException
from gateway.settings.point import Point

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS, ROUNDS = 100, 5000


def make_points() -> list[Point]:
    points = []
    for i in range(POINTS):
        half = POINTS // 2
        at, raw = (2 * i, "float32") if i < half else (POINTS + i - half, "uint16")
        source = ModbusSource.model_validate({"address": f"holding {at}", "raw": raw})
        rest = {} if raw == "float32" else {"scale": 0.1}
        points.append(Point.model_validate({"name": f"value_{i:03d}", "source": source, "range": [0, 70000]} | rest))
    return points


def clock(step: Callable[[], object]) -> float:
    """Return microseconds of processor time for one call, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(ROUNDS):
            step()
        best = min(best, time.process_time() - began)
    return best / ROUNDS * 1e6


def main() -> None:
    points = make_points()
    connection = ModbusConnection(host="localhost")
    sources = tuple(point.source for point in points)
    group = Group("m", connection, tuple(point.name for point in points), sources, 1.0)
    requests = plan([point.source for point in points], Limits()).requests
    answers = [bytes([0x42, 0x28] * (request.count)) for request in requests]
    raw = [value for request, answer in zip(requests, answers, strict=True) for value in request.decode(answer)]
    normalizer, keeper, codec = Normalizer(points), ReportByException(points), CODECS["json"]
    times = iter(range(1, 10**15, 10_000))
    normal = Scan(group, 1, list(raw))
    normalizer.apply(normal)
    record = Record("edge", "abcd", 1, [name_scan(normal)])
    steps = {
        "decode": lambda: [request.decode(answer) for request, answer in zip(requests, answers, strict=True)],
        "normalize": lambda: normalizer.apply(Scan(group, next(times), list(raw))),
        "filter": lambda: keeper.keep(normal),
        "name": lambda: name_scan(normal),
        "encode": lambda: codec.encode(record),
    }
    total = 0.0
    print(f"{POINTS} points, {len(requests)} requests, {len(codec.encode(record))} bytes a record")
    for name, step in steps.items():
        cost = clock(step)
        total += cost
        print(f"{name:<10} {cost:7.1f} us a scan   {cost / POINTS:6.3f} us a value")
    print(f"{'together':<10} {total:7.1f} us a scan   {total / POINTS:6.3f} us a value")


if __name__ == "__main__":
    main()
