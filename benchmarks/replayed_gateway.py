"""A gateway without machines: it sends prepared records at a given rate, with the limits and resends of a real gateway.

`gateway.publish` sends them, from a spool in memory. A record is built when it is sent, so a publisher costs little,
and waiting records cost nothing. The time of each scan is the time at which it was due. Prints a line of JSON every
second, with the readings that were acquired, accepted and confirmed so far.

    python benchmarks/replayed_gateway.py --port 1883 --rate 100000 [--points 100] [--machines 100] [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import orjson

from gateway.codecs import CODECS
from gateway.common.seq_ranges import SeqRanges
from gateway.common.tasks import cancel_and_wait
from gateway.model.metadata import MachineMeta, write_meta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.receipt import new_tag
from gateway.model.record import Record
from gateway.mqtt.client import Message, MqttClient
from gateway.mqtt.messages import parse_confirmation
from gateway.mqtt.topics import Topics
from gateway.publish.dispatch import FreshFirst
from gateway.publish.proofs import Proofs
from gateway.settings.sections import BrokerSection
from gateway.spool.files import Spooled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.common.seq_ranges import SeqRange

TOPICS = Topics("lineside/v1")
VARIANTS = 50
"""Sets of values that scans take in turn."""

TICK = 0.02
"""Seconds between two waves of scans."""

FRESH = 0.5
"""Seconds for which a record is fresh, as in the spool."""

SEQ, TIME = 1_234_567_890_123, 1_764_000_000_123_456
"""Numbers in a prepared record that are replaced when it is sent."""


def types(points: int) -> dict[str, str]:
    """Return the points of a machine: two of three are floats, as measurements are."""
    return {f"value_{i:03d}": ("float", "float", "float", "int", "bool", "float")[i % 6] for i in range(points)}


class ReplayedSpool:
    """A spool in memory: records are numbers, and their payloads are built when they are leased."""

    def __init__(self, name: str, machines: int, points: int, rate: float) -> None:
        self.id = "a1b2"
        self.made, self.confirmed = 0, SeqRanges()
        self._machines, self._points, self._rate = machines, points, rate
        self._fresh: deque[int] = deque()
        self._backlog = SeqRanges()
        self._arrived, self._late = asyncio.Event(), asyncio.Event()
        kinds = types(points)
        self.meta = MachineMeta("bench", kinds, {name: "bar" if i % 2 else "Cel" for i, name in enumerate(kinds)})
        paths = [MachinePath("bench", "site", "area", name, f"m-{i:05d}") for i in range(machines)]
        self.metas = [
            Message(TOPICS.meta(path), orjson.dumps(write_meta(self.meta) | {"v": 1, "id": self.meta.id}))
            for path in paths
        ]
        self._topics = [TOPICS.data(path) for path in paths]
        chance = random.Random(name)
        choices = {
            "float": lambda: round(chance.uniform(0, 400), 2), "int": lambda: chance.randrange(10**6),
            "bool": lambda: chance.random() < 0.5,
        }  # fmt: skip
        self._parts = []
        for _ in range(VARIANTS):
            scan = NamedScan(TIME, {point: choices[kind]() for point, kind in kinds.items()})
            payload = CODECS["json"].encode(Record(name, self.id, SEQ, [scan], self.meta.id, new_tag()))
            head, _, rest = payload.partition(str(SEQ).encode())
            self._parts.append((head, *rest.split(str(TIME).encode())))
        self._began = 0.0

    def begin(self) -> None:
        self._began = time.time()

    @property
    def acquired(self) -> int:
        return self.made * self._points

    def due(self, seq: int) -> float:
        """Return when a scan is due: the machines of a second follow each other, each at its own moment."""
        return self._began + (seq - 1) * self._points / self._rate

    def acquire(self) -> None:
        """Acquire the scans that are due."""
        now = time.time()
        due = int((now - self._began) * self._rate / self._points)
        self._fresh.extend(range(self.made + 1, due + 1))
        self.made = max(self.made, due)
        while self._fresh and now - self.due(self._fresh[0]) > FRESH:
            self._backlog.add(self._fresh.popleft())
        self._wake()

    def _wake(self) -> None:
        for event, there in ((self._arrived, self._fresh), (self._late, self._backlog)):
            if there:
                event.set()
            else:
                event.clear()

    def _record(self, seq: int) -> Spooled:
        head, middle, tail = self._parts[seq * 7 % VARIANTS]
        when = round(self.due(seq) * 1e6)
        payload = b"%b%d%b%d%b" % (head, seq, middle, when, tail)
        return Spooled(seq, self._topics[seq % self._machines], payload, self._points)

    # -- as `gateway.spool` has it --

    @property
    def has_fresh(self) -> bool:
        return bool(self._fresh)

    async def fresh(self) -> None:
        await self._arrived.wait()

    async def backlog(self) -> None:
        await self._late.wait()

    def lease_fresh(self, most: int) -> list[Spooled]:
        leased = [self._record(self._fresh.popleft()) for _ in range(min(most, len(self._fresh)))]
        self._wake()
        return leased

    async def lease_backlog(self, most: int) -> list[Spooled]:
        span = self._backlog.pop(most)
        self._wake()
        return [self._record(seq) for seq in range(span[0], span[1] + 1)] if span else []

    def release(self, ranges: Iterable[SeqRange]) -> None:
        for first, last in ranges:
            self._backlog.add(first, last)
            for gone in self.confirmed.copy() if len(self.confirmed) < VARIANTS else ():
                self._backlog.remove(*gone)
        self._wake()

    def confirm(self, ranges: Iterable[SeqRange], set_aside: dict[int, int]) -> None:  # noqa: ARG002 - as the spool has it
        for span in ranges:
            self.confirmed.add(*span)


async def replay(options: argparse.Namespace) -> None:
    spool = ReplayedSpool(options.name, options.machines, options.points, options.rate)
    broker = BrokerSection.model_validate({"url": f"mqtt://127.0.0.1:{options.port}", "version": options.version})

    def too_large(record: Spooled, limit: int) -> None:
        raise SystemExit(f"the broker takes {limit} bytes, and record {record.seq} has {len(record.payload)}")

    proofs = Proofs(TOPICS.root)
    dispatch = FreshFirst(cast("Any", spool), too_large, lambda topic: topic, proofs, by_broker=False)
    confirmed = TOPICS.gateway("bench", "site", options.name, "confirmed")
    async with MqttClient(broker, f"bench-{options.name}") as link:
        await link.deliver(spool.metas)
        await link.subscribe_to(confirmed)
        tasks = [asyncio.create_task(job, name=name) for name, job in dispatch.jobs(link).items()]
        tasks.append(asyncio.create_task(listen(link, dispatch, proofs), name="confirmations"))
        spool.begin()
        began = reported = time.monotonic()
        while time.monotonic() - began < options.seconds + options.drain:
            await asyncio.sleep(TICK)
            if time.monotonic() - began < options.seconds:
                spool.acquire()
            if (now := time.monotonic()) - reported >= 1.0:
                reported = now
                report(spool, dispatch, now - began)
            if broken := [task for task in tasks if task.done()]:
                raise SystemExit(f"{broken[0].get_name()}: {broken[0].exception()!r}")
        await cancel_and_wait(*tasks)


async def listen(link: MqttClient, dispatch: FreshFirst, proofs: Proofs) -> None:
    while True:
        message = await link.receive()
        confirmation = parse_confirmation(message.payload)
        proved = proofs.check(confirmation)
        if proved.taken:
            dispatch.accepted(proved.taken, confirmation.instance)
        dispatch.confirmed(proved.ranges, proved.set_aside)
        if proved.lost:
            dispatch.lost_by_store(proved.lost)
        link.acknowledge(message)


def report(spool: ReplayedSpool, dispatch: FreshFirst, when: float) -> None:
    points = spool.acquired // max(1, spool.made)
    done = sum(last - first + 1 for first, last in spool.confirmed)
    state = {
        "seconds": round(when, 1), "acquired": spool.acquired, "confirmed": done * points,
        "accepted": dispatch.window.accepted_records * points, "again": dispatch.window.counts["again"],
    }  # fmt: skip
    sys.stdout.write(orjson.dumps(state).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="edge-01")
    parser.add_argument("--rate", type=float, default=100_000, help="readings a second")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--drain", type=float, default=0.0, help="seconds to go on without further scans")
    parser.add_argument("--version", default="5")
    asyncio.run(replay(parser.parse_args()))


if __name__ == "__main__":
    main()
