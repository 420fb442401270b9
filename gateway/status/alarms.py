"""Alarms at the broker: those that are not normal, out of their retained messages, and commands for them.

Any client may publish anything on these topics: messages are bounded by their model, names by `check_text`, and their
number by `MAX_ALARMS`. Messages that are not valid are counted and left out.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aiomqtt import MqttError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.common.tasks import cancel_and_wait
from gateway.model.alarm_state import AlarmState  # noqa: TC001 - of a field
from gateway.model.command import Command, encode_command
from gateway.model.text import MAX_NAME, check_text, clean_text
from gateway.mqtt.constants import REFUSED
from gateway.mqtt.session import Session
from gateway.mqtt.topics import Topics
from gateway.mqtt.verifier import Verifier, verifier_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.settings.factory import Factory
    from gateway.settings.sections import BrokerSection

MAX_ALARMS = 20_000
"""Alarms that are kept; more are counted."""

MAX_ALARM_BYTES = 16 * 2**10
"""Bytes of the retained message of an alarm."""

CONNECT_SECONDS = 10.0
"""Seconds in which the broker must answer, with each of its addresses."""

QUIET, LISTEN = 0.5, 5.0
"""Seconds without a further retained message after which all have come, and the most to listen."""

LOOK_EVERY = 0.05

_Time = Annotated[int, Field(ge=0, le=253_402_300_800_000_000)]
_Text = Annotated[str, Field(max_length=2_000)]


class NotReachable(Exception):
    """The broker or the gateway does not answer, or the broker denies a subscription; the text says which."""


class ShownAlarm(BaseModel):
    """An alarm that is not normal, as its gateway publishes it (docs/topics.md)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    alarm: Annotated[str, Field(max_length=MAX_NAME)]
    state: AlarmState
    priority: Literal["critical", "high", "medium", "low"]
    message: _Text = ""
    source: _Text = ""
    type: _Text = ""
    since: _Time = 0
    changed: _Time = 0
    value: bool | int | float | str | None = None
    unit: _Text = ""
    who: _Text = ""
    reason: _Text = ""
    until: _Time | None = None


class Answer(BaseModel):
    """The answer of a gateway to a command."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[str, Field(max_length=64)]
    outcome: Literal["done", "refused", "failed"]
    text: _Text = ""


class StandingAlarms:
    """The alarms of a broker that are not normal, by machine and name.

    `ignored` counts messages that are not valid, or not signed as they have to be. Without a `verifier` none has to
    be signed.
    """

    def __init__(self, root: str, verifier: Verifier | None = None) -> None:
        self.topics = Topics(root)
        self._verifier = verifier or Verifier(root, {})
        self.ignored = 0
        self.changed_at = time.monotonic()
        self.alarms: dict[tuple[str, str], ShownAlarm] = {}

    def hear(self, message: ReceivedMessage) -> None:
        """Read a message if it may be believed."""
        verdict = self._verifier.check(message)
        self.ignored += bool(verdict.reason)
        if not verdict.fault:
            self.take(message.topic, verdict.payload)

    def take(self, topic: str, payload: bytes) -> None:
        """Read a message; nothing is raised, whatever is in it."""
        place = self.topics.alarm_of(topic)
        if place is None:
            return
        self.changed_at = time.monotonic()
        key = str(place[0]), place[1]
        if not payload:
            self.alarms.pop(key, None)
            return
        try:
            if len(payload) > MAX_ALARM_BYTES or (len(self.alarms) >= MAX_ALARMS and key not in self.alarms):
                raise ValueError("too many, or too large")  # noqa: TRY301 - counted with the others
            for level in (*place[0], place[1]):
                check_text(level, MAX_NAME)
            self.alarms[key] = ShownAlarm.model_validate_json(payload)
        except (ValidationError, ValueError, RecursionError):
            self.ignored += 1


def alarm_as_dict(machine: str, alarm: ShownAlarm) -> dict[str, Any]:
    """Return an alarm as plain data, with texts that a terminal can show."""
    content = alarm.model_dump(mode="json")
    texts = {key: clean_text(value, MAX_ALARM_BYTES) for key, value in content.items() if isinstance(value, str)}
    return {"machine": machine} | content | texts


async def follow_alarms(
    factory: Factory, stop: asyncio.Event, show: Callable[[StandingAlarms], bool], every: float
) -> None:
    """Listen to the alarms of a site until `stop` is set or `show` returns True.

    `show` is called once all retained messages have come, and then each `every` seconds. Raises `NotReachable`.
    """
    found, own = StandingAlarms(factory.broker.root, verifier_of(factory)), factory.factory
    filter_ = f"{found.topics.root}/{own.enterprise}/{own.site}/+/+/+/alarm/+"

    def begin() -> None:
        found.alarms.clear()  # nothing says which were cleared while the connection was lost
        found.changed_at = time.monotonic()

    async def work(_link: MqttClient) -> None:
        for _ in range(round(LISTEN / LOOK_EVERY)):
            if time.monotonic() - found.changed_at > QUIET:
                break
            await asyncio.sleep(LOOK_EVERY)
        while True:
            if show(found):
                return
            await asyncio.sleep(every)

    await _talk(factory.broker, stop, filter_, found.hear, work, begin)


async def send_command(factory: Factory, stop: asyncio.Event, command: Command, seconds: float) -> Answer | None:
    """Send a command to the gateway of a configuration; return its answer, None if `stop` is set before.

    Raises `NotReachable` if there is no answer in time.
    """
    topics, own = Topics(factory.broker.root), factory.factory
    topic = {leaf: topics.gateway(own.enterprise, own.site, command.gateway, leaf) for leaf in ("command", "answer")}
    answers: list[Answer] = []
    came = asyncio.Event()

    verifier = verifier_of(factory)

    def take(message: ReceivedMessage) -> None:
        answer = _answer_of(verifier, message)
        if answer is not None and answer.id == command.id:
            answers.append(answer)
            came.set()

    refused = False

    def sent(reason: int) -> None:
        nonlocal refused
        if reason >= REFUSED:
            refused = True
            came.set()

    async def work(link: MqttClient) -> None:
        try:
            link.send(topic["command"], encode_command(command), sent)
            async with asyncio.timeout(seconds):
                await came.wait()
        except MqttError as error:
            raise NotReachable(f"the connection to the broker was lost: {error}") from None
        except TimeoutError:
            hint = "does it run, and has it a section gateway.commands?"
            raise NotReachable(f"gateway {command.gateway} does not answer within {seconds:g} s; {hint}") from None
        if refused:
            raise NotReachable(f"the broker denies publishing on {topic['command']}: grant the user the right to it")

    await _talk(factory.broker, stop, topic["answer"], take, work)
    return answers[0] if answers else None


def _answer_of(verifier: Verifier, message: ReceivedMessage) -> Answer | None:
    """Return the answer in a message, None if it is not valid, or not signed as it has to be."""
    verdict = verifier.check(message)
    try:
        return None if verdict.fault else Answer.model_validate_json(verdict.payload)
    except (ValidationError, RecursionError):
        return None


async def _talk(
    broker: BrokerSection,
    stop: asyncio.Event,
    topic: str,
    take: Callable[[ReceivedMessage], None],
    work: Callable[[MqttClient], Awaitable[None]],
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Do work over the first connection to the broker, and pass on the messages of a topic from all connections.

    `begin` is called at each connection, before its messages. Raises `NotReachable`.
    """
    session = Session(broker, f"lineside-alarms-{secrets.token_hex(3)}", quiet=True)
    connected: asyncio.Future[MqttClient] = asyncio.get_running_loop().create_future()

    async def serve(link: MqttClient) -> None:
        denied = await link.subscribe_to(topic, qos=1)
        begin()
        if not connected.done():
            if denied:
                connected.set_exception(NotReachable(f"the broker denies the subscription to {topic}"))
            else:
                connected.set_result(link)
        while True:
            message = await link.receive()
            link.acknowledge(message)
            take(message)

    async def main() -> None:
        limit = CONNECT_SECONDS * len(broker.addresses)
        try:
            async with asyncio.timeout(limit):
                link = await asyncio.shield(connected)
        except TimeoutError:
            known = session.link
            raise NotReachable(known.error or f"{known.broker} does not answer within {limit:g} s") from None
        await work(link)

    tasks = [
        asyncio.create_task(session.run(serve), name="broker session"),
        asyncio.create_task(main(), name="alarms"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel_and_wait(*tasks)
