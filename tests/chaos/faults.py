"""The faults, each for a while: the injector picks a fault, lets it happen, heals it, and goes on.

Faults on different parts overlap, those on one part follow each other.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiomqtt
from processes import LOOPBACK

from chaos.plant import IDS, RIGHTS, ROOTS, UNITS, micros

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from chaos.plant import Configuration, Plant

    Fault = Callable[["Injector", float], Awaitable[None]]

PAGE = 4096

STARTS = 3
"""Kills inside starts that follow each other."""

INSIDE_START = 0.3
"""Seconds after its beginning within which a start is killed."""

ADOPTION = 0.5
"""Seconds after its beginning within which an adoption of records is killed."""

STEPS = (-7 * 3600, -3600, -60, -2, 2, 60, 3600, 8 * 3600, 20 * 3600)
"""Seconds by which a clock is stepped: time servers, time zones, and a wrong battery clock."""

LOGIN = b"<!doctype html><html><title>Sign in</title><form action=/login></form></html>"

ANSWERS = tuple(
    b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (status, kind, len(body), body)
    for status, kind, body in (
        (b"200 OK", b"text/html", LOGIN),
        (b"200 OK", b"application/json", b"{}"),
        (b"202 Accepted", b"text/plain", b""),
        (b"302 Found\r\nLocation: /login", b"text/html", LOGIN),
        (b"400 Bad Request", b"text/html", LOGIN),
        (b"401 Unauthorized", b"application/json", b'{"code":"unauthorized"}'),
        (b"403 Forbidden", b"text/html", LOGIN),
        (b"404 Not Found", b"text/plain", b"no such tenant"),
        (b"405 Method Not Allowed", b"text/plain", b""),
        (b"413 Content Too Large", b"text/html", LOGIN),
        (b"429 Too Many Requests\r\nRetry-After: 1", b"text/plain", b""),
        (b"500 Internal Server Error", b"text/plain", b"oops"),
        (b"502 Bad Gateway", b"text/html", LOGIN),
        (b"503 Service Unavailable\r\nRetry-After: 1", b"text/plain", b""),
    )
)
"""Answers of a proxy in front of a store: none of them says that the store has anything, or which row it refuses."""

POISON = (b"", b"{", b'{"v":1}', b"[" * 1000, b'{"v":1,"gateway":"x","seq":1e300,"scans":[]}', b"\xff\xfe" * 500)
"""Payloads that are not records."""


class Injector:
    """Makes faults happen, at random from a seed: which, in which order, and for how long."""

    def __init__(self, plant: Plant, seed: int, longest: float) -> None:
        """Prepare; `longest` are the seconds that a fault lasts at the most."""
        self.plant = plant
        self.counts: Counter[str] = Counter()
        self.history: list[str] = []
        self.damaged = 0
        """How often a byte of the spool was changed, or some were lost."""
        self.kills = 0
        """How many processes were killed."""
        self.choice = random.Random(seed)  # noqa: S311 - to be repeated
        self.longest = longest
        self._parts: dict[str, asyncio.Lock] = {}
        self._deck: list[str] = []

    async def run(self, seconds: float, at_once: int = 4) -> None:
        """Inject for some time, then heal the faults that are not healed yet."""
        deadline = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(at_once):
                tasks.create_task(self._inject(deadline), name=f"injector {number}")

    async def _inject(self, deadline: float) -> None:
        while asyncio.get_running_loop().time() < deadline:
            name = self._draw()
            lasts, pause = self.choice.uniform(0.1, self.longest), self.choice.uniform(0.5, self.longest / 2)
            await self.cause(name, lasts, pause)

    def _draw(self) -> str:
        """Return the next fault: each comes as often as its weight before any comes again, a free part first."""
        if not self._deck:
            self._deck = [name for name, (weight, _, _) in FAULTS.items() for _ in range(weight)]
            self.choice.shuffle(self._deck)
        free = (n for n, name in enumerate(self._deck) if not any(map(self._busy, FAULTS[name][1])))
        return self._deck.pop(next(free, 0))

    def _busy(self, part: str) -> bool:
        return part in self._parts and self._parts[part].locked()

    async def cause(self, name: str, seconds: float, pause: float = 0.0) -> None:
        """Let one fault happen, heal it, and leave its parts alone for a while."""
        _, parts, fault = FAULTS[name]
        async with AsyncExitStack() as held:
            for part in sorted(parts):
                await held.enter_async_context(self._parts.setdefault(part, asyncio.Lock()))
            began = micros()
            await fault(self, seconds)
            self.counts[name] += 1
            self.history.append(f"{began} to {micros()}: {name}")
            await asyncio.sleep(pause)


async def _kill_gateway(injector: Injector, seconds: float) -> None:
    injector.plant.kill_gateway()
    injector.kills += 1
    await asyncio.sleep(seconds / 4)
    await injector.plant.start_gateway()


async def _kill_gateway_in_start(injector: Injector, seconds: float) -> None:
    """Kill it inside its start, again and again."""
    choice = random.Random(seconds)  # noqa: S311 - to be repeated
    for _ in range(STARTS):
        injector.plant.kill_gateway()
        injector.kills += 1
        injector.plant.gateway.launch()
        await asyncio.sleep(choice.uniform(0.0, INSIDE_START))
    injector.plant.kill_gateway()
    injector.kills += 1
    await injector.plant.start_gateway()


async def _damage_spool(injector: Injector, seconds: float) -> None:
    """Kill the gateway; then a bit of its spool flips, or the end of it is lost."""
    injector.plant.kill_gateway()
    injector.kills += 1
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
        for _ in range(choice.choice((1, 1, 1, 8))):
            data[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
    file.write_bytes(data)
    return file.read_bytes() != before


async def _kill_broker(injector: Injector, seconds: float) -> None:
    injector.plant.broker.kill()
    injector.kills += 1
    await asyncio.sleep(seconds / 2)
    await injector.plant.broker.up()


async def _kill_ingest(injector: Injector, seconds: float) -> None:
    injector.plant.ingest.kill()
    injector.kills += 1
    await asyncio.sleep(seconds / 2)
    await injector.plant.start_ingest()


async def _kill_ingest_in_start(injector: Injector, seconds: float) -> None:
    """Kill it inside its start, again and again."""
    choice = random.Random(seconds)  # noqa: S311 - to be repeated
    for _ in range(STARTS):
        injector.plant.ingest.kill()
        injector.kills += 1
        injector.plant.ingest.launch()
        await asyncio.sleep(choice.uniform(0.0, INSIDE_START))
    injector.plant.ingest.kill()
    injector.kills += 1
    await injector.plant.start_ingest()


async def _kill_store(injector: Injector, seconds: float) -> None:
    store = injector.plant.store
    assert store is not None
    store.kill()
    injector.kills += 1
    await asyncio.sleep(seconds / 2)
    await store.up()


async def _full_disk(injector: Injector, seconds: float) -> None:
    with injector.plant.full_disk():
        await asyncio.sleep(seconds)


async def _full_letters(injector: Injector, seconds: float) -> None:
    """Fill the disk of ingest's dead letters, while a client publishes messages that belong there."""
    plant = injector.plant
    topic = f"{plant.configuration.root}/enterprise/site/area/line/poison/data"
    with plant.full_letters():
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            try:
                async with aiomqtt.Client(LOOPBACK, plant.broker.port, timeout=2.0) as client:
                    for payload in POISON:
                        await client.publish(topic, payload, qos=1)
            except aiomqtt.MqttError:
                pass  # the broker is another fault's
            await asyncio.sleep(0.2)


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


async def _other_answers(injector: Injector, seconds: float) -> None:
    """Put something between ingest and the store that answers in its place."""
    choice = random.Random(seconds)  # noqa: S311 - to be repeated
    proxy = injector.plant.links["ingest-store"]
    for answer in choice.sample(ANSWERS, 3):
        await proxy.answer(answer)
        await asyncio.sleep(seconds / 3)
    await proxy.heal()


async def _refuse_rights(injector: Injector, seconds: float) -> None:
    choice = random.Random(seconds)  # noqa: S311 - to be repeated
    await injector.plant.allow(choice.choice([rights for rights in RIGHTS if rights != "all"]))
    await asyncio.sleep(seconds)
    await injector.plant.allow("all")


def _step(name: str) -> Fault:
    async def step(injector: Injector, seconds: float) -> None:
        choice = random.Random(seconds)  # noqa: S311 - to be repeated
        if not injector.plant.clocks:
            return
        with injector.plant.stepped(name, choice.choice(STEPS)):
            await asyncio.sleep(seconds)

    return step


def _configure(change: Callable[[Configuration], None]) -> Fault:
    async def configure(injector: Injector, seconds: float) -> None:
        """Change the configuration, while some records wait for the broker."""
        plant = injector.plant
        await plant.links["gateway-broker"].cut()
        await asyncio.sleep(seconds / 2)
        plant.kill_gateway()
        root = plant.configuration.root
        change(plant.configuration)
        plant.write_configuration()
        injector.kills += 1
        if plant.configuration.root != root:
            plant.ingest.kill()
            injector.kills += 1
            await plant.start_ingest()
        await plant.links["gateway-broker"].heal()
        await plant.start_gateway()

    return configure


def _another_root(configuration: Configuration) -> None:
    configuration.root = ROOTS[configuration.root == ROOTS[0]]


def _another_unit(configuration: Configuration) -> None:
    configuration.unit = "" if configuration.unit else "mm"


def _another_machine(configuration: Configuration) -> None:
    """Rename the last machine, take it out, or take it in again."""
    following: dict[str | None, str | None] = {"unit-5": "unit-5b", "unit-5b": None, None: "unit-5"}
    name = following[configuration.names.pop(UNITS, None)]
    if name is not None:
        configuration.names[UNITS] = name


async def _another_id(injector: Injector, seconds: float) -> None:
    """Change the gateway's id, while some records wait for the broker, and let it adopt them."""
    plant = injector.plant
    former = plant.configuration.gateway
    await plant.links["gateway-broker"].cut()
    await asyncio.sleep(seconds / 2)
    plant.kill_gateway()
    plant.configuration.gateway = IDS[former == IDS[0]]
    plant.write_configuration()
    injector.kills += 1
    injector.kills += await plant.adopt(former, seconds * ADOPTION / injector.longest)
    await plant.links["gateway-broker"].heal()
    await plant.start_gateway()


_CHANGED: Sequence[str] = ("gateway", "gateway-broker", "ingest")

FAULTS: dict[str, tuple[int, Sequence[str], Fault]] = {
    "kill gateway": (4, ["gateway"], _kill_gateway),
    "kill gateway in start": (2, ["gateway"], _kill_gateway_in_start),
    "kill broker": (4, ["broker"], _kill_broker),
    "kill ingest": (4, ["ingest"], _kill_ingest),
    "kill ingest in start": (2, ["ingest"], _kill_ingest_in_start),
    "kill store": (4, ["store"], _kill_store),
    "freeze gateway": (1, ["gateway"], _freeze("gateway")),
    "freeze broker": (1, ["broker"], _freeze("broker")),
    "freeze ingest": (1, ["ingest"], _freeze("ingest")),
    "freeze store": (1, ["store"], _freeze("store")),
    "cut gateway-broker": (1, ["gateway-broker"], _cut("gateway-broker")),
    "cut broker-ingest": (1, ["broker-ingest"], _cut("broker-ingest")),
    "cut ingest-store": (1, ["ingest-store"], _cut("ingest-store")),
    "drop gateway-broker": (1, ["gateway-broker"], _drop("gateway-broker")),
    "drop broker-ingest": (1, ["broker-ingest"], _drop("broker-ingest")),
    "drop ingest-store": (1, ["ingest-store"], _drop("ingest-store")),
    "other answers of store": (2, ["ingest-store"], _other_answers),
    "full disk": (1, ["gateway"], _full_disk),
    "full disk of dead letters": (1, ["letters"], _full_letters),
    "damaged spool": (1, ["gateway"], _damage_spool),
    "clock step of gateway": (2, ["gateway clock"], _step("gateway")),
    "clock step of ingest": (1, ["ingest clock"], _step("ingest")),
    "refused rights": (2, ["rights"], _refuse_rights),
    "changed root": (1, _CHANGED, _configure(_another_root)),
    "changed id": (1, ["gateway", "gateway-broker"], _another_id),
    "changed unit": (1, _CHANGED, _configure(_another_unit)),
    "changed machine": (1, _CHANGED, _configure(_another_machine)),
}
"""Name -> how often beside the others, the parts it happens to, and what it does."""
