"""Users and rights for HiveMQ with its File RBAC Extension: credentials.xml.

The elements are those of the README of the extension and of its class `Permission`; the order of the elements is not
fixed. Without a permission the extension denies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from gateway.acl.accounts import ANY, Action
from gateway.acl.written import Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.acl.accounts import Account, Right
    from gateway.settings.sections import BrokerSection

FILE = "credentials.xml"

UNSET = "dW5zZXQ=:1:dW5zZXQ="
"""In place of the hash of a password: salt, iterations and hash. No password has so short a hash."""

_RETAIN = {True: "RETAINED", False: "NOT_RETAINED", None: "ALL"}


def hivemq(accounts: Sequence[Account], broker: BrokerSection) -> Written:
    """Return the file for HiveMQ."""
    del broker
    commands = [
        f'java -jar hivemq-file-rbac-extension-*.jar -p "$PASSWORD"  # in place of {UNSET} of {one.user}'
        for one in accounts
    ]
    notes = [
        "The File RBAC Extension can't bind a client id to a user: a user can disconnect another.",
        "The Enterprise Security Extension, or an authenticator of your own, can refuse foreign client ids.",
    ]
    return Written({FILE: "\n".join(_lines(accounts)) + "\n"}, commands, notes)


def _lines(accounts: Sequence[Account]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    yield "<!-- The users of the File RBAC Extension, written by `lineside acl`; password-type is HASHED. -->"
    yield "<file-rbac>"
    yield "    <users>"
    for one in accounts:
        yield "        <user>"
        yield f"            <name>{escape(one.user)}</name>"
        yield f"            <password>{UNSET}</password>"
        yield "            <roles>"
        yield f"                <id>{escape(one.user)}</id>"
        yield "            </roles>"
        yield "        </user>"
    yield "    </users>"
    yield "    <roles>"
    for one in accounts:
        yield "        <role>"
        yield f"            <id>{escape(one.user)}</id>"
        yield "            <permissions>"
        for right in one.rights:
            yield "                <permission>"
            yield from (f"                    {element}" for element in _permission(right))
            yield "                </permission>"
        yield "            </permissions>"
        yield "        </role>"
    yield "    </roles>"
    yield "</file-rbac>"


def _permission(right: Right) -> Iterable[str]:
    yield f"<topic>{escape(right.topic)}</topic>"
    yield f"<activity>{right.action.upper()}</activity>"
    if right.action is Action.PUBLISH:
        yield f"<retain>{_RETAIN[right.retained]}</retain>"
        return
    yield f"<shared-subscription>{'SHARED' if right.share else 'NOT_SHARED'}</shared-subscription>"
    if right.share not in {"", ANY}:
        yield f"<shared-group>{escape(right.share)}</shared-group>"
