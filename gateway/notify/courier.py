"""Delivers messages, each in a process of its own that can be killed, see `send.py`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from drivers.extras import is_installed
from gateway.common.child_process import output_of
from gateway.common.setting_types import MissingSecret
from gateway.notify.delivery import LARGEST, Answer, Delivery, Outcome, parse_answer
from gateway.settings.policy import read_policy
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from gateway.notify.message import Message
    from gateway.settings.notify_section import NotifyTarget

COMMAND = "gateway.notify.send"

LONGEST = 30.0
"""Seconds after which the process is killed: a server may send its answer byte by byte."""

AT_ONCE = 3
"""Processes side by side: a target that hangs delays none of the others, and a box has little memory."""

NICE = 10
"""The nice value of the process: readings go first."""


class Courier:
    """Delivers messages to the targets of a gateway. It keeps no secret: one that was corrected is used at once."""

    def __init__(self) -> None:
        self._processes = asyncio.Semaphore(AT_ONCE)

    async def send(self, target: NotifyTarget, message: Message) -> Answer:
        """Deliver a message, and return what became of it. Raises nothing but cancellation."""
        try:
            delivery = await asyncio.to_thread(_delivery, target, message)
        except MissingSecret:
            return Answer(outcome=Outcome.NO_SECRET)
        except ConfigurationError:  # a policy that can't be used allows nothing
            return Answer(outcome=Outcome.NOT_ALLOWED)
        if not is_installed("notify"):
            return Answer(outcome=Outcome.NO_LIBRARY)
        trusted = {}
        if target.ca is not None:
            # the variables of OpenSSL, for mail, and of requests, for everything else
            trusted = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(target.ca))
            trusted["SSL_CERT_DIR"] = os.devnull
        content = delivery.model_dump_json().encode("utf-8", "replace")
        async with self._processes:
            try:
                output = await output_of([COMMAND], LONGEST, LARGEST, nice=NICE, content=content, environment=trusted)
            except TimeoutError:
                return Answer(outcome=Outcome.TIMED_OUT)
            except OSError:  # no more processes
                return Answer(outcome=Outcome.FAILED)
        return parse_answer(output)


def _delivery(target: NotifyTarget, message: Message) -> Delivery:
    """Return a message with its URL. Raises `MissingSecret`, and `Untrusted` for a policy that can't be used."""
    policy = read_policy()
    allowed = [] if policy is None else policy.hosts_of_secret("notify", target.url)
    return Delivery(
        url=target.url.reveal().strip(), title=message.title, body=message.body, kind=message.kind,
        insecure=target.insecure, allowed=allowed,
    )  # fmt: skip
