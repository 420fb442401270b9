"""The topics, in one place: `docs/topics.md` is their description for users."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.model.path import GatewayPath, MachinePath
from gateway.settings.problems import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.document import Document
    from gateway.settings.factory import Factory

GATEWAYS = "_gateways"
"""The level under a site of gateways; no area can have this name, since names begin with a letter."""

INGESTS = "_ingests"
"""The level under a site of ingests."""

MACHINES = ""
"""The kind of the topics of machines, which have no level of their own under a site."""


class Party(StrEnum):
    """A part of the product that talks to the broker."""

    GATEWAY = "gateway"
    INGEST = "ingest"
    PAGE = "page"
    READER = "reader"
    OPERATOR = "operator"


class Use(NamedTuple):
    """The parties that use a topic, and how: `docs/topics.md` has the same table for users.

    A `leaf` with `+` stands for a topic of each name in its place. A party that is of the `kind` uses its own topics:
    a gateway those of its machines and its own, an ingest its own. Others use those of all machines, gateways or
    ingests. `retained` says whether a message there is retained; None if some are. Those of `clears` publish an empty
    retained message, which removes a retained message.
    """

    kind: str
    leaf: str
    publishes: frozenset[Party]
    subscribes: frozenset[Party]
    retained: bool | None = False
    shared: bool = False
    clears: frozenset[Party] = frozenset()


_GATEWAY, _INGEST = frozenset({Party.GATEWAY}), frozenset({Party.INGEST})
_WATCHERS, _OPERATOR = frozenset({Party.PAGE, Party.READER}), frozenset({Party.OPERATOR})

USES = (
    Use(MACHINES, "data", _GATEWAY, _INGEST | _WATCHERS, shared=True),
    Use(MACHINES, "event", _GATEWAY, _INGEST | _WATCHERS, shared=True),
    Use(MACHINES, "meta", _GATEWAY, _INGEST | _WATCHERS, retained=True),
    Use(MACHINES, "state", _GATEWAY, _GATEWAY | _WATCHERS, retained=True),
    Use(MACHINES, "alarm/+", _GATEWAY, _WATCHERS | _OPERATOR, retained=True),
    Use(GATEWAYS, "state", _GATEWAY, _GATEWAY | _WATCHERS, retained=True),
    Use(GATEWAYS, "ledger", _GATEWAY, _WATCHERS, retained=None),
    Use(GATEWAYS, "data", _GATEWAY, _INGEST | _WATCHERS, shared=True),
    Use(GATEWAYS, "metadata", _GATEWAY, _INGEST),
    Use(GATEWAYS, "confirmed", _INGEST, _GATEWAY, clears=_GATEWAY),
    Use(GATEWAYS, "wanted", _INGEST, _GATEWAY, clears=_GATEWAY),
    Use(GATEWAYS, "command", _OPERATOR, _GATEWAY, clears=_GATEWAY),
    Use(GATEWAYS, "answer", _GATEWAY, _OPERATOR),
    Use(INGESTS, "state", _INGEST, _INGEST | _GATEWAY | _WATCHERS, retained=True),
    Use(INGESTS, "report", _INGEST, _WATCHERS, retained=True),
    Use(INGESTS, "share", _INGEST, _INGEST, shared=True),
)
"""All topics, and the parties that use them."""


_BELOW_SITE = 3
"""Levels of a gateway's topic below its site: `GATEWAYS`, its id, and the leaf."""

_BELOW_ROOT = len(MachinePath._fields) + 1
"""Levels of a machine's topic below the root: its path, and the leaf."""


Site = tuple[str, str]
"""Enterprise and site; `+` stands for any."""

EVERYWHERE: Site = ("+", "+")
"""All sites."""


class Member(NamedTuple):
    """The levels of a topic of a gateway or an ingest below the root; `kind` is `GATEWAYS` or `INGESTS`."""

    enterprise: str
    site: str
    kind: str
    name: str
    leaf: str


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics below a root such as `lineside/v1`."""

    root: str

    def machine(self, path: MachinePath, leaf: str) -> str:
        """Return a topic of a machine, such as `alarm/oil_low` of an alarm."""
        return f"{self.root}/{path}/{leaf}"

    def data(self, path: MachinePath) -> str:
        """Return the topic of a machine's records."""
        return f"{self.root}/{path}/data"

    def event(self, path: MachinePath) -> str:
        """Return the topic of a machine's events."""
        return f"{self.root}/{path}/event"

    def meta(self, path: MachinePath) -> str:
        """Return the topic of a machine's description."""
        return f"{self.root}/{path}/meta"

    def state(self, path: MachinePath) -> str:
        """Return the topic of a machine's state."""
        return f"{self.root}/{path}/state"

    def gateway(self, enterprise: str, site: str, gateway: str, leaf: str) -> str:
        """Return a topic of a gateway: its `state`, its `ledger`, or what is `confirmed` to it."""
        return f"{self.root}/{enterprise}/{site}/{GATEWAYS}/{gateway}/{leaf}"

    def ingest(self, enterprise: str, site: str, ingest: str, leaf: str = "state") -> str:
        """Return a topic of an ingest: its `state` or `report`, or `share`, to check shared subscriptions."""
        return f"{self.root}/{enterprise}/{site}/{INGESTS}/{ingest}/{leaf}"

    def place(self, topic: str) -> str:
        """Return the part of a topic below the root, with which a record's receipt is made."""
        return topic[len(self.root) + 1 :]

    def all_machines(self, leaf: str, site: Site = EVERYWHERE) -> str:
        """Return the filter for a topic of every machine, of all sites or of one."""
        return self.machine(MachinePath(*site, "+", "+", "+"), leaf)

    def all_gateways(self, leaf: str, site: Site = EVERYWHERE) -> str:
        """Return the filter for a topic of every gateway, of all sites or of one."""
        return self.gateway(*site, "+", leaf)

    def all_ingests(self, leaf: str = "state", site: Site = EVERYWHERE) -> str:
        """Return the filter for a topic of every ingest, of all sites or of one."""
        return self.ingest(*site, "+", leaf)

    def all_of(self, use: Use, site: Site = EVERYWHERE) -> str:
        """Return the filter for a topic of every machine, gateway or ingest, of all sites or of one."""
        every = {MACHINES: self.all_machines, GATEWAYS: self.all_gateways, INGESTS: self.all_ingests}
        return every[use.kind](use.leaf, site)

    def is_ingest(self, topic: str) -> bool:
        """Return whether a topic is that of an ingest's state."""
        levels = topic[len(self.root) + 1 :].split("/")
        return topic.startswith(self.root + "/") and levels[2:3] == [INGESTS] and levels[4:] == ["state"]

    def member_of(self, topic: str) -> Member | None:
        """Return the gateway or ingest that a topic belongs to, None where it is of neither."""
        levels = topic[len(self.root) + 1 :].split("/")
        known = topic.startswith(self.root + "/") and len(levels) == len(Member._fields)
        return Member(*levels) if known and levels[2] in {GATEWAYS, INGESTS} else None

    def rebase(self, topic: str, gateway: str = "") -> str:
        """Return the topic of a machine or a gateway under this root: a record may have been made under another root.

        The machine's path and the leaf stay; a topic that is too short for that stays as a whole. The topic of any
        gateway becomes that of this `gateway`: it may have adopted the record.
        """
        levels = topic.split("/")
        if len(levels) > _BELOW_SITE + 1 and levels[-_BELOW_SITE] == GATEWAYS:
            enterprise, site, _, known, leaf = levels[-_BELOW_SITE - 2 :]
            return self.gateway(enterprise, site, gateway or known, leaf)
        if len(levels) <= _BELOW_ROOT:
            return topic
        return f"{self.root}/{'/'.join(levels[-_BELOW_ROOT:])}"

    def machine_of(self, topic: str) -> tuple[MachinePath, str] | None:
        """Return the machine and the leaf of a topic, or None where it is not of a machine."""
        if not topic.startswith(self.root + "/"):
            return None
        levels = topic[len(self.root) + 1 :].split("/")
        if len(levels) != _BELOW_ROOT or levels[2] == GATEWAYS:
            return None
        return MachinePath(*levels[:-1]), levels[-1]

    def alarm_of(self, topic: str) -> tuple[MachinePath, str] | None:
        """Return the machine and the name of an alarm, or None where the topic is not of an alarm."""
        levels = topic[len(self.root) + 1 :].split("/")
        known = topic.startswith(self.root + "/") and len(levels) == _BELOW_ROOT + 1
        return (MachinePath(*levels[:-2]), levels[-1]) if known and levels[-2] == "alarm" else None

    def gateway_of(self, topic: str) -> tuple[GatewayPath, str] | None:
        """Return the gateway and the leaf of a topic, or None where it is not of a gateway."""
        levels = topic[len(self.root) + 1 :].split("/")
        if not topic.startswith(self.root + "/") or len(levels) != 5 or levels[2] != GATEWAYS:  # noqa: PLR2004
            return None
        return GatewayPath(levels[0], levels[1], levels[3]), levels[4]


def topic_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield a warning for each name with a dot: some brokers accept topics with one, and deliver nothing there."""
    named: set[tuple[str, ...]] = set()
    for document, path, name in _levels(factory):
        if "." in name and path not in named:
            named.add(path)
            message = f"{name!r} contains a dot, and NATS and RabbitMQ do not deliver such topics; write '-' instead"
            yield Problem(document.file, *document.mark(path), ".".join(path), message, Severity.WARNING)


def _levels(factory: Factory) -> Iterator[tuple[Document, tuple[str, ...], str]]:
    """Yield the levels of all topics: where each is written, and its name."""
    if factory.document is not None:
        for section, key in (("broker", "root"), ("factory", "enterprise"), ("factory", "site"), ("gateway", "id")):
            yield factory.document, (section, key), str(getattr(getattr(factory, section), key))
        yield factory.document, ("ingest", "id"), factory.ingest.id
    for machine in factory.machines:
        if machine.place is not None:
            document, path = machine.place.document, tuple(map(str, machine.place.path))
            yield document, path, machine.path.machine
            yield document, path[:-2], machine.path.line
            yield document, (*path[:-2], "area"), machine.path.area
