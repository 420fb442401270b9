"""Commands of people on the page to gateways: which gateway takes them, how they are sent, and their outcome."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from aiomqtt import MqttError
from pydantic import ValidationError

from drivers.private_key import load_signing_key
from gateway.dashboard.texts.text import _
from gateway.model.command import encode_command, new_command, signed
from gateway.model.text import MAX_NAME, MAX_TEXT, clean_text
from gateway.mqtt.constants import REFUSED
from gateway.status.alarms import Answer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gateway.common.setting_types import Secret
    from gateway.dashboard.live.listener import Listener
    from gateway.dashboard.plants import Plants
    from gateway.dashboard.texts.text import Text
    from gateway.model.command import Command, Order
    from gateway.model.path import MachinePath
    from gateway.settings.dashboard_section import PageCommandsSection
    from gateway.settings.factory import Factory

VALID = 20.0
"""Seconds for which a command is valid, beside those that its answer may take."""

AT_ONCE = 50
"""Commands that wait for an answer at a time: a gateway has a queue of 100, and gives no answer beyond that."""

MAX_ANSWER = 16 * 2**10
"""Bytes of an answer that is read."""


class Became(StrEnum):
    """What became of a command: the outcome of the gateway, or why there is none."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    NO_ANSWER = "no_answer"
    NOT_SENT = "not_sent"


class Outcome(NamedTuple):
    """What became of a command, and why: a text of the gateway in English, or of the page. `id` is of the command."""

    became: Became
    text: Text | str = ""
    id: str = ""


def _key_of(secret: Secret) -> Ed25519PrivateKey:
    """Return the key of a secret. Raises `MissingSecret`, and `ValueError` for a key of another kind."""
    try:
        return load_signing_key(secret.reveal().encode())
    except ValueError as error:
        hint = "make one with: openssl genpkey -algorithm ed25519"
        raise ValueError(f"dashboard.commands.key is not a private key of Ed25519 in PEM ({error}); {hint}") from None


class Commander:
    """Sends commands over the connections of the page, and gives each answer to who waits for it.

    Without `dashboard.commands` nothing is sent. Raises `MissingSecret` without its key, and `ValueError` for a
    key that is not one of Ed25519 in PEM.
    """

    def __init__(self, plants: Plants, section: PageCommandsSection | None) -> None:
        self._plants = plants
        self._section = section
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._sending = asyncio.Semaphore(AT_ONCE)
        self._key = None if section is None or section.key is None else _key_of(section.key)
        self._factories: dict[MachinePath, Factory] = {}
        if section is None:
            return
        for factory in plants.factories:
            takes = factory.gateway.commands
            if takes.enabled and (takes.unsigned_alarms or (self._key is not None and section.name in takes.keys)):
                self._factories |= dict.fromkeys((machine.path for machine in factory.machines), factory)
        for plant, listener in zip(plants.plants, plants.listeners, strict=True):
            plant.answered = self.answered
            listener.commands = True

    def may(self, path: MachinePath) -> bool:
        """Return whether the gateway of a machine takes commands of this page."""
        return path in self._factories

    @property
    def seconds(self) -> float:
        """The time for an answer."""
        return 0.0 if self._section is None else self._section.wait

    def answered(self, payload: bytes) -> None:
        """Read an answer of any gateway, to a command of anybody; nothing is raised, whatever is in it."""
        if len(payload) > MAX_ANSWER:
            return
        try:
            answer = Answer.model_validate_json(payload)
        except (ValidationError, RecursionError):
            return
        waiting = self._waiting.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def send(self, identity: str, path: MachinePath, order: Order) -> Outcome:
        """Send the command of a person to the gateway of a machine, and wait for its answer."""
        factory, found = self._factories.get(path), self._plants.find(path)
        if factory is None or found is None:
            return Outcome(Became.NOT_SENT, _("the gateway of this machine takes no commands of this page"))
        listener = self._plants.listeners[self._plants.plants.index(found[0])]
        own = factory.factory
        topic = found[0].topics.gateway(own.enterprise, own.site, factory.gateway.id, "command")
        try:
            async with asyncio.timeout(self.seconds):
                await self._sending.acquire()
        except TimeoutError:
            return Outcome(Became.NOT_SENT, _("the commands before it are not answered"))
        try:
            command = self._command(identity, factory, order)  # now: it is valid for a short time
            return await self._sent(listener, topic, command)
        finally:
            self._sending.release()

    def _command(self, identity: str, factory: Factory, order: Order) -> Command:
        """Return a command, signed where the gateway has the key."""
        valid = min(factory.gateway.commands.longest, self.seconds + VALID)
        command = new_command(factory.gateway.id, clean_text(identity, MAX_NAME) or "page", order, valid)
        name = "" if self._section is None else self._section.name
        if self._key is not None and name in factory.gateway.commands.keys:
            return signed(command, name, self._key)
        return command

    async def _sent(self, listener: Listener, topic: str, command: Command) -> Outcome:
        waiting = self._waiting[command.id] = asyncio.get_running_loop().create_future()
        denied = asyncio.Event()

        def sent(reason: int) -> None:
            if reason >= REFUSED and not waiting.done():
                denied.set()
                waiting.cancel()

        try:
            listener.send(topic, encode_command(command), sent)
            async with asyncio.timeout(self.seconds):
                answer = await waiting
        except MqttError:
            return Outcome(Became.NOT_SENT, _("the broker is not connected"), command.id)
        except TimeoutError:
            return Outcome(Became.NO_ANSWER, "", command.id)
        except asyncio.CancelledError:
            if not denied.is_set():
                raise
            return Outcome(Became.NOT_SENT, _("the broker denies publishing on {topic}", topic=topic), command.id)
        finally:
            del self._waiting[command.id]
        return Outcome(Became(answer.outcome), clean_text(answer.text, MAX_TEXT), command.id)
