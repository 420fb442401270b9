"""Users and rights for Mosquitto 2: a part of mosquitto.conf, and the file of `acl_file`.

Mosquitto checks the right to read when it delivers a message, so it grants every subscription, and delivers only
messages that the user may read. A shared subscription needs the right to read its topics, and no right of its own.

A client id is bound to its user by two options (mosquitto.conf(5)). `use_username_as_clientid` of a listener puts the
user name in place of the client id. `clientid_prefixes`, which counts for all listeners, refuses client ids of
another beginning. User names have another beginning, so no client of the second listener can have the id of a client
of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.exposure import is_loopback
from gateway.acl.accounts import PREFIX, Action
from gateway.acl.written import NotPossible, Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.acl.accounts import Account
    from gateway.settings.sections import BrokerSection

CONFIGURATION, RIGHTS, PASSWORDS = "lineside.conf", "lineside.acl", "lineside.passwd"
"""The names of the files in `FOLDER`."""

FOLDER = "/etc/mosquitto"
"""The folder of Mosquitto's files in the packages of most distributions."""


def mosquitto(accounts: Sequence[Account], broker: BrokerSection) -> Written:
    """Return the files for Mosquitto 2. Raises `NotPossible`."""
    for one in accounts:
        if one.user.startswith(PREFIX):
            raise NotPossible(f"the user {one.user} begins with {PREFIX}, as client ids do; write another name")
    certificates = broker.tls and broker.certificate is not None
    commands = [] if certificates else [
        f"mosquitto_passwd {'-c ' if number == 0 else ''}{FOLDER}/{PASSWORDS} {one.user}"
        for number, one in enumerate(accounts)
    ]  # fmt: skip
    files = {
        CONFIGURATION: _lines(_configuration(accounts, broker, certificates=certificates)),
        RIGHTS: _lines(_rights(accounts)),
    }
    return Written(files, commands, list(_notes(accounts, broker)))


def _configuration(accounts: Sequence[Account], broker: BrokerSection, *, certificates: bool) -> Iterator[str]:
    first, second = _ports(broker)
    yield "# Part of mosquitto.conf, written by `lineside acl`: include it with include_dir, or copy it."
    yield "allow_anonymous false"
    if not certificates:
        yield f"password_file {FOLDER}/{PASSWORDS}"
    yield f"acl_file {FOLDER}/{RIGHTS}"
    yield "# no client id of another beginning: none can be the name of a user"
    yield f"clientid_prefixes {PREFIX}"
    several = [one for one in accounts if one.several]
    single = [one for one in accounts if not one.several]
    for port, some, only in ((first, single, True), (second, several, False)):
        if not some:
            continue
        yield ""
        yield f"# {', '.join(one.user for one in some)}"
        yield f"listener {port}" + (" 127.0.0.1" if is_loopback(broker.addresses[0].host) else "")
        if only:
            yield "# the user name is the client id: no other user can take the place of a client"
            yield "use_username_as_clientid true"
        if broker.tls:
            yield f"cafile {FOLDER}/certs/ca.pem"
            yield f"certfile {FOLDER}/certs/broker.pem"
            yield f"keyfile {FOLDER}/certs/broker.key"
        if certificates:
            yield "require_certificate true"
            yield "use_identity_as_username true"


def _ports(broker: BrokerSection) -> tuple[int, int]:
    """Return the ports of the listener of clients with one connection, and of the listener of all others."""
    port = broker.addresses[0].port
    return port, port + 1 if port < 2**16 - 1 else port - 1


def _rights(accounts: Iterable[Account]) -> Iterator[str]:
    yield "# The rights of `acl_file`, written by `lineside acl`. A user without a line has no right."
    for one in accounts:
        yield ""
        yield f"# {one.owner}"
        yield f"user {one.user}"
        actions: dict[str, set[Action]] = {}
        for right in one.rights:
            actions.setdefault(right.topic, set()).add(right.action)
        for topic, some in actions.items():
            access = "readwrite" if len(some) == len(Action) else "write" if Action.PUBLISH in some else "read"
            yield f"topic {access} {topic}"


def _notes(accounts: Iterable[Account], broker: BrokerSection) -> Iterator[str]:
    first, second = _ports(broker)
    several = [one.user for one in accounts if one.several]
    yield (
        f"Port {first} is for clients with one connection, port {second} for all others: write port {second} into "
        f"broker.url of {', '.join(several)}."
    )
    yield (
        f"On port {second} a user can take the client id of another user of this port. It gets none of its rights, "
        "but disconnects it."
    )
    yield "Mosquitto grants every subscription, and delivers only messages that the user may read."
    yield "Mosquitto has no right of its own for retained messages: a user may retain where it may publish."
    yield "Mosquitto 2.0.11 and later call clientid_prefixes deprecated; the versions up to 2.0 have it."


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
