"""Clear the retained messages of a gateway at its broker: those that it has published, and no others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.atomic_file import load_json
from gateway.common.setting_types import MissingSecret
from gateway.common.tasks import cancel_and_wait
from gateway.model.part import BETWEEN
from gateway.mqtt.client import Message
from gateway.mqtt.messages import BadMessage, parse_machine_state
from gateway.mqtt.session import Session
from gateway.mqtt.topics import Topics
from gateway.publish.message_signer import gateway_signer
from gateway.publish.retained_messages import read_topics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mqtt.client import MqttClient
    from gateway.settings.factory import Factory

CONNECT_SECONDS = 10.0
"""Seconds in which the broker must answer, with each of its addresses."""

QUIET = 0.5
"""Seconds without a message after which all retained messages have come."""

AT_ONCE = 500
"""Topics of one subscription."""

CLEARED = b""
"""An empty retained message removes the retained message of its topic (MQTT 5, 3.3.1.3)."""


class NotCleared(Exception):
    """The broker does not answer, or denies a right; the text says which."""


class Cleared(NamedTuple):
    """The topics whose retained message is gone, and those whose state another gateway has signed, which stay."""

    topics: list[str]
    of_others: list[str]


async def clear_retained(factory: Factory) -> Cleared:
    """Clear the states, descriptions and alarms of a gateway's machines, and its own state. Raises `NotCleared`.

    A machine that another gateway has signed by now is left as it is. It needs the client id of the gateway, which
    must not run.
    """
    session = Session(factory.broker, f"lineside-{factory.gateway.id}", quiet=True)
    result: asyncio.Future[Cleared] = asyncio.get_running_loop().create_future()

    async def serve(link: MqttClient) -> None:
        try:
            result.set_result(await _clear(link, factory))
        except NotCleared as error:
            result.set_exception(error)

    running = asyncio.create_task(session.run(serve), name="broker session")
    limit = CONNECT_SECONDS * len(factory.broker.addresses)
    try:
        await asyncio.wait((running, result), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if running.done() and not result.done():
            running.result()  # a missing secret
        if not result.done():
            raise NotCleared(session.link.error or f"{session.link.broker} does not answer within {limit:g} s")
        return result.result()
    finally:
        await cancel_and_wait(running)


def _state_topics(factory: Factory, topics: Topics) -> list[str]:
    """Return the topics of the states that the gateway has published, as its file has them, and of its machines."""
    found = dict.fromkeys(topics.state(machine.path) for machine in factory.machines)
    own = factory.gateway
    with suppress(OSError, ValueError, TypeError, KeyError):
        saved = load_json(own.spool.folder / f"{own.id}.states.json")
        known = [*saved["states"], *saved["gone"]]
        found |= dict.fromkeys(
            topic for topic in known if isinstance(topic, str) and topics.machine_of(topic) is not None
        )
    return list(found)


def _result_topics(factory: Factory) -> list[str]:
    """Return the topics of the alarms that the gateway has published, out of the files of it and its workers."""
    own = factory.gateway
    found: set[str] = set()
    for file in own.spool.folder.glob("*.retained.json"):
        part, _, number = file.name.removesuffix(".retained.json").partition(BETWEEN)
        if part == own.id and (not number or number.isdecimal()):
            with suppress(OSError, ValueError):
                found |= read_topics(file)
    return sorted(found)


async def _clear(link: MqttClient, factory: Factory) -> Cleared:
    topics, own, place = Topics(factory.broker.root), factory.gateway.id, factory.factory
    states = _state_topics(factory, topics)
    heard: dict[str, bytes] = {}
    for first in range(0, len(states), AT_ONCE):
        denied = await link.subscribe_to(*states[first : first + AT_ONCE])
        if denied:
            raise NotCleared(
                f"the broker denies the subscription to {next(iter(denied))}: grant client lineside-{own} the right"
            )
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(QUIET):
                message = await link.receive()
            link.acknowledge(message)
            if message.retain and message.payload:
                heard[message.topic] = bytes(message.payload)
    mine = [topic for topic, payload in heard.items() if _signed_by(payload) == own]
    wanted = [one for topic in mine for one in (topic.removesuffix("/state") + "/meta", topic)]
    others = set(heard) - set(mine)
    for topic in _result_topics(factory):
        alarm = topics.alarm_of(topic)
        if alarm is not None and topics.state(alarm[0]) not in others:
            wanted.append(topic)
    wanted += [topics.gateway(place.enterprise, place.site, own, leaf) for leaf in ("ledger", "state")]
    await _say_signed(link, factory, topics, wanted)
    refused = await link.deliver([Message(topic, CLEARED) for topic in wanted])
    if refused:
        raise NotCleared(
            f"the broker refuses to clear {next(iter(refused))}: grant client lineside-{own} the right to publish"
        )
    return Cleared(wanted, sorted(others))


async def _say_signed(link: MqttClient, factory: Factory, topics: Topics, cleared: Iterable[str]) -> None:
    """Say in signed messages which topics are about to be cleared: readers with keys ignore an empty message alone.

    Without its key at hand, which only the service may read, they forget the gateway at their next start.
    """
    try:
        signer = await gateway_signer(factory.gateway, topics)
    except MissingSecret:
        return
    if signer is not None:
        for topic in cleared:
            link.send(topic, signer.clearing(topic), _ignore)


def _ignore(reason: int) -> None:
    """Ignore the answer: that to the empty message, which follows, says the same."""
    del reason


def _signed_by(payload: bytes) -> str:
    try:
        return parse_machine_state(payload).gateway
    except BadMessage:
        return ""
