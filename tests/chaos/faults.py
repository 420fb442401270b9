"""What can go wrong, each for a while: the injector picks one, lets it happen, heals it, and goes on.

Faults on different parts overlap, those on one part follow each other.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

from chaos.plant import micros

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from chaos.plant import Plant

    Fault = Callable[["Injector", float], Awaitable[None]]

PAGE = 4096


class Injector:
    """Makes faults happen, at random from a seed: which, in which order, and for how long."""

    def __init__(self, plant: Plant, seed: int, longest: float) -> None:
        """Prepare; `longest` are the seconds that a fault lasts at the most."""
        self.plant = plant
        self.counts: Counter[str] = Counter()
        self.history: list[str] = []
        self.damaged = 0
        """How often a byte of the spool was changed, or some were lost."""
        self._seed = seed
        self._longest = longest
        self._parts: dict[str, asyncio.Lock] = {}

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(n for name, n in self.counts.items() if name.startswith("kill"))

    async def run(self, seconds: float, at_once: int = 3) -> None:
        """Inject for some time, then heal what is not healed yet."""
        deadline = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(at_once):
                choice = random.Random(f"{self._seed}-{number}")  # noqa: S311 - to be repeated
                tasks.create_task(self._inject(choice, deadline), name=f"injector {number}")

    async def _inject(self, choice: random.Random, deadline: float) -> None:
        while asyncio.get_running_loop().time() < deadline:
            [name] = choice.choices(list(FAULTS), [weight for weight, _, _ in FAULTS.values()])
            _, part, _ = FAULTS[name]
            lasts, pause = choice.uniform(0.1, self._longest), choice.uniform(0.1, 1.0)
            async with self._parts.setdefault(part, asyncio.Lock()):
                await self.cause(name, lasts)
            await asyncio.sleep(pause)

    async def cause(self, name: str, seconds: float) -> None:
        """Let one fault happen, and heal it."""
        _, _, fault = FAULTS[name]
        self.counts[name] += 1
        began = micros()
        await fault(self, seconds)
        self.history.append(f"{began} to {micros()}: {name}")


async def _kill_gateway(injector: Injector, seconds: float) -> None:
    injector.plant.kill_gateway()
    await asyncio.sleep(seconds / 4)
    await injector.plant.start_gateway()


async def _damage_spool(injector: Injector, seconds: float) -> None:
    """Kill the gateway; then a bit of its spool flips, or the end of it is lost."""
    injector.plant.kill_gateway()
    if injector.plant.may_be_damaged:
        injector.damaged += _damage([file for file in injector.plant.spool_files() if file.stat().st_size], seconds)
    await asyncio.sleep(seconds / 4)
    await injector.plant.start_gateway()


def _damage(files: list[Path], seconds: float) -> bool:
    """Damage one of the files; returns whether it is another than before."""
    choice = random.Random(seconds)  # noqa: S311 - to be repeated
    file = choice.choice(files)
    before = file.read_bytes()
    data = bytearray(before)
    if len(data) > 2 * PAGE and choice.random() < 0.3:
        del data[-choice.randrange(1, PAGE) :]
    else:
        data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
    file.write_bytes(data)
    return file.read_bytes() != before


async def _kill_broker(injector: Injector, seconds: float) -> None:
    injector.plant.broker.kill()
    await asyncio.sleep(seconds / 2)
    await injector.plant.broker.up()


async def _kill_ingest(injector: Injector, seconds: float) -> None:
    injector.plant.ingest.kill()
    await asyncio.sleep(seconds / 2)
    await injector.plant.start_ingest()


async def _kill_store(injector: Injector, seconds: float) -> None:
    store = injector.plant.store
    assert store is not None
    store.kill()
    await asyncio.sleep(seconds / 2)
    await store.up()


async def _full_disk(injector: Injector, seconds: float) -> None:
    with injector.plant.full_disk():
        await asyncio.sleep(seconds)


def _freeze(name: str) -> Fault:
    async def freeze(injector: Injector, seconds: float) -> None:
        await injector.plant.freeze(name, seconds)

    return freeze


def _cut(link: str) -> Fault:
    async def cut(injector: Injector, seconds: float) -> None:
        proxy = injector.plant.links[link]
        await proxy.cut()
        await asyncio.sleep(seconds)
        await proxy.heal()

    return cut


def _drop(link: str) -> Fault:
    async def drop(injector: Injector, seconds: float) -> None:
        proxy = injector.plant.links[link]
        proxy.drop()
        await asyncio.sleep(seconds)
        await proxy.heal()

    return drop


FAULTS: dict[str, tuple[float, str, Fault]] = {
    "kill gateway": (6, "gateway", _kill_gateway),
    "kill broker": (5, "broker", _kill_broker),
    "kill ingest": (5, "ingest", _kill_ingest),
    "kill store": (4, "store", _kill_store),
    "freeze gateway": (1, "gateway", _freeze("gateway")),
    "freeze broker": (1, "broker", _freeze("broker")),
    "freeze ingest": (1, "ingest", _freeze("ingest")),
    "freeze store": (1, "store", _freeze("store")),
    "cut gateway-broker": (2, "gateway-broker", _cut("gateway-broker")),
    "cut broker-ingest": (2, "broker-ingest", _cut("broker-ingest")),
    "cut ingest-store": (2, "ingest-store", _cut("ingest-store")),
    "drop gateway-broker": (1, "gateway-broker", _drop("gateway-broker")),
    "drop broker-ingest": (1, "broker-ingest", _drop("broker-ingest")),
    "drop ingest-store": (1, "ingest-store", _drop("ingest-store")),
    "full disk": (2, "gateway", _full_disk),
    "damaged spool": (1, "gateway", _damage_spool),
}
"""Name -> how often beside the others, what it happens to, and what it does."""
