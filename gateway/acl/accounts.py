"""The users of a broker and their rights: one account for each part of the product that talks to the broker.

The rights follow from the table of topics, `gateway.mqtt.topics.USES`. Each account has the topics that its part
uses, and no others; publishing and subscribing are separate rights.
"""

from __future__ import annotations

import re
from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from paho.mqtt.client import topic_matches_sub

from gateway.model.part import BETWEEN
from gateway.mqtt.topics import EVERYWHERE, GATEWAYS, INGESTS, MACHINES, USES, Party, Topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.mqtt.topics import Use
    from gateway.settings.factory import Factory

ANY = "+"
"""Any share name."""

PREFIX = "lineside-"
"""The beginning of all client ids."""

_PLAIN = re.compile(r"[A-Za-z0-9_.@/-]+")
"""Texts that mean themselves in the files of every broker."""

_LINE = 4
"""Levels of a machine's path down to its line."""


class WrongAccounts(Exception):
    """Two parts would have one user, or a text can't be written into the file of a broker; the text says which."""


class Action(StrEnum):
    """The action that a right allows."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"


class Right(NamedTuple):
    """The right to publish on the topics of a filter, or to subscribe to them.

    `retained` of a right to publish: whether the messages are retained, None if some are. `share` of a right to
    subscribe: the share name of the subscription, `ANY`, or empty for a subscription that is not shared.
    """

    action: Action
    topic: str
    retained: bool | None = False
    share: str = ""


class Account(NamedTuple):
    """A user of the broker.

    `clients` are its client ids, where `*` stands for any characters. `several` says whether it has several
    connections at the same time. `owner` names the part for people.
    """

    user: str
    party: Party
    owner: str
    clients: tuple[str, ...]
    several: bool
    rights: tuple[Right, ...]

    def may(self, action: Action, topic: str) -> bool:
        """Return whether it has a right for a topic."""
        return any(right.action is action and topic_matches_sub(right.topic, topic) for right in self.rights)


def accounts_of(
    factories: Sequence[Factory], page: str = "page", reader: str = "reader", operator: str = "operator"
) -> list[Account]:
    """Return the accounts of factories at one broker.

    `page` and `reader` are the users of the page and of commands that read, `operator` that of commands for alarms.

    Each factory has a gateway and an ingest; ingests of one id in several factories share an account. Raises
    `WrongAccounts`.
    """
    ingests: dict[str, list[Factory]] = defaultdict(list)
    for factory in factories:
        ingests[factory.ingest.id].append(factory)
    others = {page, reader, operator, *ingests}
    lines = _shared_lines(factories)
    found = [_gateway(factory, lines, others) for factory in factories]
    found += [_ingest(name, some) for name, some in ingests.items()]
    sites = sorted({(one.factory.enterprise, one.factory.site) for one in factories})
    found.append(_page(page, factories, sites))
    found.append(_watcher(Party.READER, reader, factories, [EVERYWHERE], ("tail", "fleet", "check")))
    if any(factory.gateway.commands.enabled for factory in factories):
        found.append(_watcher(Party.OPERATOR, operator, factories, sites, ("alarms",)))
    for text in (*(one.user for one in found), *(factory.broker.root for factory in factories)):
        if not _PLAIN.fullmatch(text):
            raise WrongAccounts(f"{text!r} can't be written for a broker; use letters, digits and _ . - @ only")
    owners: dict[str, str] = {}
    for one in found:
        if one.user in owners:
            raise WrongAccounts(
                f"{owners[one.user]} and {one.owner} have the user {one.user}: give each a broker.username, an id or "
                "an option --page-user, --reader-user or --operator-user of its own"
            )
        owners[one.user] = one.owner
    return found


def gateway_account(factory: Factory) -> Account:
    """Return the account of a factory's gateway alone, whatever its user is."""
    return _gateway(factory, set(), set())


def ingest_account(factory: Factory) -> Account:
    """Return the account of a factory's ingest alone."""
    return _ingest(factory.ingest.id, [factory])


def reader_account(factory: Factory) -> Account:
    """Return the account of commands that read from the broker of a factory."""
    return _watcher(Party.READER, "reader", [factory], [EVERYWHERE], ("tail", "fleet", "check"))


def _shared_lines(factories: Iterable[Factory]) -> set[tuple[str, ...]]:
    """Return the lines whose machines belong to several gateways, as enterprise, site, area and line."""
    gateways: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for factory in factories:
        for machine in factory.machines:
            gateways[machine.path[:_LINE]].add(factory.gateway.id)
    return {line for line, some in gateways.items() if len(some) > 1}


def _gateway(factory: Factory, shared_lines: set[tuple[str, ...]], others: set[str]) -> Account:
    """Return the account of a gateway; its user is that of the configuration, if no other part has it."""
    own, name, topics = factory.factory, factory.gateway.id, Topics(factory.broker.root)
    user = factory.broker.username
    # a gateway clears the state and description of a machine that is removed, so it has all machines of its lines
    places = dict.fromkeys(
        machine.path if machine.path[:_LINE] in shared_lines else machine.path._replace(machine="+")
        for machine in factory.machines
    )
    rights: list[Right] = []
    for use in USES:
        if use.kind == MACHINES:
            mine = [topics.machine(place, use.leaf) for place in places]
        elif use.kind == GATEWAYS:
            mine = [topics.gateway(own.enterprise, own.site, name, use.leaf)]
        else:
            mine = [topics.all_of(use)]
        for topic in mine:
            rights += _rights(Party.GATEWAY, use, topic)
    workers = factory.gateway.workers != 1
    clients = (PREFIX + name, *([f"{PREFIX}{name}{BETWEEN}*"] if workers else []))
    return Account(
        name if user is None or user in others else user,
        Party.GATEWAY, f"gateway {name}", clients, workers, tuple(rights),
    )  # fmt: skip


def _ingest(name: str, factories: Sequence[Factory]) -> Account:
    """Return the account of an ingest, with the topics of each of its factories."""
    rights: dict[Right, None] = {}
    clients: dict[str, None] = {}
    for factory in factories:
        own, topics, share = factory.factory, Topics(factory.broker.root), factory.ingest.share or ""
        member = f"{name}-{factory.gateway.id}"
        clients[PREFIX + member] = None
        if share:
            clients[f"{PREFIX}{member}-check"] = None
        for use in USES:
            if use.leaf == "confirmed" and not factory.ingest.confirms:
                continue
            of_ingests = use.kind == INGESTS
            topic = topics.ingest(own.enterprise, own.site, member, use.leaf) if of_ingests else topics.all_of(use)
            rights |= dict.fromkeys(_rights(Party.INGEST, use, topic, "" if of_ingests else share))
            if of_ingests and use.shared and share:
                rights[Right(Action.SUBSCRIBE, topic, share=ANY)] = None
    several = len(clients) > 1
    return Account(name, Party.INGEST, f"ingest {name}", tuple(clients), several, tuple(rights))


def _page(user: str, factories: Sequence[Factory], sites: Sequence[tuple[str, str]]) -> Account:
    """Return the account of the page: it commands gateways only if `dashboard.commands` of a factory says so."""
    found = _watcher(Party.PAGE, user, factories, sites, ("page",))
    if all(factory.dashboard.commands is None for factory in factories):
        return found
    rights = _watcher(Party.OPERATOR, user, factories, sites, ()).rights
    return found._replace(rights=tuple(dict.fromkeys((*found.rights, *rights))))


def _watcher(
    party: Party, user: str, factories: Iterable[Factory], sites: Iterable[tuple[str, str]], kinds: Iterable[str]
) -> Account:
    """Return the account of a part that is outside of the flow, and publishes no more than commands."""
    roots = dict.fromkeys(factory.broker.root for factory in factories)
    rights: list[Right] = []
    for root in roots:
        for site in sites:
            for use in USES:
                rights += _rights(party, use, Topics(root).all_of(use, site))
    owner = "the page" if party is Party.PAGE else f"the commands {', '.join(kinds)}"
    clients = tuple(f"{PREFIX}{kind}-*" for kind in kinds)
    return Account(user, party, owner, clients, several=True, rights=tuple(rights))


def _rights(party: Party, use: Use, topic: str, share: str = "") -> Iterator[Right]:
    """Yield the rights of a party for a topic that is used like this."""
    if party in use.publishes:
        yield Right(Action.PUBLISH, topic, use.retained)
    elif party in use.clears:
        yield Right(Action.PUBLISH, topic, retained=True)
    if party in use.subscribes:
        yield Right(Action.SUBSCRIBE, topic, share=share if use.shared else "")
