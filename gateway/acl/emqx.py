"""Users and rights for EMQX 5.8.3 and later: acl.conf of its file authorizer, and a part of its configuration.

The forms are those of the documentation of EMQX: "Use ACL File" for the rules, with `qos` and `retain` of an action
since 5.1.1; "Client ID Override" for the client ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.acl.accounts import Action
from gateway.acl.written import Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.acl.accounts import Account, Right
    from gateway.settings.sections import BrokerSection

CONFIGURATION, RIGHTS = "lineside.hocon", "acl.conf"

_CONFIGURATION = """# Part of the configuration of EMQX 5.8.3 or later, written by `lineside acl`.
# The session of a client has its user name and client id: no user can take the place of another user's client.
mqtt.clientid_override = "concat([username, '/', clientid])"
authentication = [
  {mechanism = password_based, backend = built_in_database, user_id_type = username}
]
authorization {
  no_match = deny
  deny_action = ignore
  sources = [{type = file, enable = true, path = "etc/acl.conf"}]
}
"""

_USERS = "http://localhost:18083/api/v5/authentication/password_based%3Abuilt_in_database/users"
"""The endpoint of the users of the built-in database."""


def emqx(accounts: Sequence[Account], broker: BrokerSection) -> Written:
    """Return the files for EMQX."""
    del broker
    commands = [
        f'read -rs PASSWORD && printf \'{{"user_id":"%s","password":"%s"}}\' {one.user} "$PASSWORD" | '
        f"curl -sS -u \"$API_KEY:$API_SECRET\" -H 'Content-Type: application/json' -d @- {_USERS}"
        for one in accounts
    ]
    notes = [
        "With deny_action = ignore EMQX answers a message without the right with reason code 0x87.",
        "EMQX checks a shared subscription as one of the topic filter in it, whatever the share name is.",
    ]
    return Written({CONFIGURATION: _CONFIGURATION, RIGHTS: "\n".join(_rules(accounts)) + "\n"}, commands, notes)


def _rules(accounts: Iterable[Account]) -> Iterator[str]:
    yield "%% The rules of the file authorizer, written by `lineside acl`. The first rule that matches counts."
    for one in accounts:
        yield ""
        yield f"%% {one.owner}"
        groups: dict[str, dict[str, None]] = {}
        for right in one.rights:
            groups.setdefault(_action(right), {})[right.topic] = None
        for action, topics in groups.items():
            listed = ",\n    ".join(f'"{topic}"' for topic in topics)
            yield f'{{allow, {{username, "{one.user}"}}, {action}, [\n    {listed}\n]}}.'
    yield ""
    yield "{deny, all}."


def _action(right: Right) -> str:
    """Return the third part of a rule."""
    if right.action is Action.SUBSCRIBE:
        return "subscribe"
    if right.retained is None:
        return "publish"
    return f"{{publish, [{{retain, {str(right.retained).lower()}}}]}}"
