"""Users and rights for the NATS server with MQTT: the section `authorization` of its configuration.

NATS translates a topic to a subject: `/` becomes `.`, `+` becomes `*`. A subscription that the user has no right to
is refused. A message without the right to publish is acknowledged and dropped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.acl.accounts import Action
from gateway.acl.written import NotPossible, Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.acl.accounts import Account, Right
    from gateway.settings.sections import BrokerSection

FILE = "lineside-nats.conf"

DELIVERY = "$MQTT.sub.>"
"""The subject over which NATS delivers messages of QoS 1 to a client. Versions before 2.12.3 need the right to it; a
client can't subscribe to it over MQTT."""

NOTHING = '{deny: [">"]}'
"""In place of an empty list of rights, which would allow everything."""


def nats(accounts: Sequence[Account], broker: BrokerSection) -> Written:
    """Return the file for NATS. Raises `NotPossible` for shared subscriptions, and for names with a dot."""
    del broker
    for one in accounts:
        for right in one.rights:
            if right.share:
                raise NotPossible("NATS has no shared subscriptions: remove ingest.share")
            if "." in right.topic:
                raise NotPossible(f"NATS does not deliver the topic {right.topic}: write '-' in place of the dot")
    commands = [f"nats server passwd  # then: export {_variable(one.user)}='HASH'" for one in accounts]
    notes = [
        "NATS reads the passwords, as bcrypt hashes, from the environment, and does not start without them.",
        "NATS can't bind a client id to a user: a user can disconnect another with its client id.",
        "NATS has no right of its own for retained messages: a user may retain where it may publish.",
        'NATS speaks MQTT 3.1.1: set broker.version to "3.1.1".',
    ]
    return Written({FILE: "\n".join(_lines(accounts)) + "\n"}, commands, notes)


def _variable(user: str) -> str:
    """Return the environment variable with the hash of a user's password."""
    return "LINESIDE_HASH_" + re.sub(r"\W", "_", user).upper()


def _lines(accounts: Iterable[Account]) -> Iterator[str]:
    yield "# The users of the NATS server, written by `lineside acl`: include it in the configuration of the server."
    yield "authorization {"
    yield "  users = ["
    for one in accounts:
        publish = [right for right in one.rights if right.action is Action.PUBLISH]
        subscribe = [right for right in one.rights if right.action is Action.SUBSCRIBE]
        yield f"    # {one.owner}"
        yield "    {"
        yield f'      user: "{one.user}", password: ${_variable(one.user)}, allowed_connection_types: ["MQTT"]'
        yield "      permissions: {"
        yield f"        publish: {_subjects(publish) if publish else NOTHING}"
        yield f"        subscribe: {_subjects(subscribe, DELIVERY)}"
        yield "      }"
        yield "    }"
    yield "  ]"
    yield "}"


def _subjects(rights: Iterable[Right], *more: str) -> str:
    subjects = [*dict.fromkeys(right.topic.replace("/", ".").replace("+", "*") for right in rights), *more]
    return "{allow: [\n" + "".join(f'          "{subject}"\n' for subject in subjects) + "        ]}"
