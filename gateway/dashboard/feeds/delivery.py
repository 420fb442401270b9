"""The feed of the delivery view: gateways and ingests, their problems, and whether a reading was lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.dashboard.feeds.base import BadArguments, Feed
from gateway.dashboard.feeds.members import (
    INGEST_MUTE,
    Circumstances,
    bounded,
    gateway_figures,
    gateway_problems,
    ingest_figures,
    ingest_problems,
    present_rates,
    row_of,
    row_of_refused,
    row_of_unheard,
)
from gateway.dashboard.live.rates import Rates
from gateway.dashboard.texts.text import _
from gateway.mqtt.topics import GATEWAYS
from gateway.status.fleet import MUTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants
    from gateway.mqtt.messages import ClientState, LedgerReport
    from gateway.settings.factory import Factory

MAX_MEMBERS = 500
"""Gateways, and ingests, of one broker that are shown, those that are offline first; the others are counted."""

MAX_VISIBLE = 50
"""Members whose figures one page may see at once."""

MAX_SITES = 50
"""Plants of one broker whose accounts are shown."""

HEARD_BY = 10.0
"""Seconds after which a configured gateway must have been heard: retained messages come at once."""

NO_RATES = Rates()

M = TypeVar("M", bound="tuple[ClientState, Any]")


@dataclass(slots=True)
class _Account:
    """The readings of all gateways of a plant, by their outcome; the last that is known of those that are offline."""

    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    balanced: bool = True
    gateways: int = 0
    offline: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    as_of: int = 0
    """The time of the oldest report that is in the sums."""

    def add(self, name: str, report: LedgerReport | None, *, online: bool) -> None:
        self.gateways += 1
        if report is None:
            self.unknown.append(name)
            return
        if not online:
            self.offline.append(name)
        ledger = report.ledger
        self.counts.update(
            acquired=ledger.acquired, unchanged=ledger.unchanged, pending=ledger.pending, confirmed=ledger.confirmed
        )
        self.dropped.update(ledger.dropped)
        self.balanced &= report.balanced
        self.as_of = min(self.as_of or report.time, report.time)

    def as_dict(self, site: str) -> dict[str, Any]:
        counts, dropped = self.counts, self.dropped
        known = counts["unchanged"] + counts["pending"] + counts["confirmed"] + dropped.total()
        return {
            "site": site, "gateways": self.gateways, "offline": self.offline[:MAX_SITES],
            "unknown": self.unknown[:MAX_SITES], "as_of": self.as_of, "balanced": self.balanced,
            "missing": bounded(counts["acquired"] - known),
            "dropped": {reason: bounded(count) for reason, count in dropped.most_common(MAX_SITES)},
        } | {name: bounded(counts[name]) for name in ("acquired", "unchanged", "pending", "confirmed")}  # fmt: skip


@dataclass(slots=True)
class _Found:
    """The content of a message: all members, the accounts of the plants, and the figures of visible members."""

    visible: frozenset[str]
    members: list[dict[str, Any]] = field(default_factory=list)
    sites: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    more: int = 0


class DeliveryFeed(Feed):
    """Gateways and ingests; `visible` has the keys of those whose figures are sent.

    A message has `members`, all of them, when one came or went, else those of them that `changed`; `sites`, the
    account of each plant; `figures` of visible members, by key, where they changed; `more`, how many members are not
    shown.
    """

    every = 1.0

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._visible: frozenset[str] = frozenset()
        self._members: dict[str, dict[str, Any]] | None = None
        self._accounts: tuple[list[dict[str, Any]], int] | None = None
        self._figures: dict[str, Any] = {}
        self._given: dict[tuple[str, ...], tuple[Factory, str]] = {
            (one.broker.url, one.broker.root, one.factory.enterprise, one.factory.site, one.gateway.id): (
                one,
                one.digest,
            )
            for one in plants.factories
        }

    def choose(self, arguments: dict[str, Any]) -> None:
        visible = arguments.get("visible", [])
        fits = isinstance(visible, list) and len(visible) <= MAX_VISIBLE
        if not fits or not all(type(one) is str for one in visible):
            raise BadArguments(_("visible is a list of at most {most} keys of members", most=MAX_VISIBLE))
        self._visible = frozenset(visible)
        self._figures = {key: one for key, one in self._figures.items() if key in self._visible}

    def changes(self) -> dict[str, Any] | None:
        found = _Found(self._visible)
        for plant in self.plants.plants:
            self._add(plant, found)
        content: dict[str, Any] = {}
        rows = {row["key"]: row for row in found.members}
        if self._members is None or rows.keys() != self._members.keys():
            content["members"] = found.members
        elif changed := [row for key, row in rows.items() if self._members[key] != row]:
            content["changed"] = changed
        if (found.sites, found.more) != self._accounts:
            content |= {"sites": found.sites, "more": found.more}
        if news := {key: one for key, one in found.figures.items() if self._figures.get(key) != one}:
            content["figures"] = news
        self._members, self._accounts, self._figures = rows, (found.sites, found.more), found.figures
        return content or None

    def _add(self, plant: Plant, found: _Found) -> None:
        gateways, ingests = plant.fleet.gateways, plant.fleet.ingests
        found.more += max(0, len(gateways) - MAX_MEMBERS) + max(0, len(ingests) - MAX_MEMBERS)
        self._add_gateways(plant, gateways, found)
        self._add_ingests(plant, ingests, found)
        for seen in plant.fleet.not_verified[:MAX_MEMBERS]:
            found.members.append(row_of_refused(seen, "gateway" if seen.member.kind == GATEWAYS else "ingest"))
        accounts: dict[str, _Account] = {}
        for state, seen in gateways:
            site = f"{seen.member.enterprise}/{seen.member.site}"
            account = accounts.setdefault(site, _Account())
            account.add(seen.member.name, seen.report, online=state.state == "online")
        for site, name in self._unheard(plant):
            found.members.append(row_of_unheard(site, name))
            accounts.setdefault(site, _Account()).add(name, None, online=False)
        found.sites += [account.as_dict(site) for site, account in islice(accounts.items(), MAX_SITES)]

    def _add_gateways(self, plant: Plant, gateways: Sequence[Any], found: _Found) -> None:
        for state, seen in _some(gateways):
            rates = plant.rates.get(seen.member[:4], NO_RATES)
            enterprise, site, _, name, _ = seen.member
            given, digest = self._given.get((*_broker(plant), enterprise, site, name), (None, ""))
            around = Circumstances(plant.link, not plant.denied, digest, bool(plant.verifier))
            per_second = present_rates(state, seen, rates, MUTE)
            row = row_of(seen, state, "gateway", list(gateway_problems(state, seen, per_second, around)))
            found.members.append(row)
            if row["key"] in found.visible and seen.report is not None:
                found.figures[row["key"]] = gateway_figures(seen.report, per_second, rates, given)

    def _add_ingests(self, plant: Plant, ingests: Sequence[Any], found: _Found) -> None:
        running = {
            (seen.member.enterprise, seen.member.site, seen.member.name): state.config
            for state, seen in plant.fleet.gateways
        }
        for state, seen in _some(ingests):
            expected = next((running[key] for key in _gateways_of(seen.member) if key in running), "")
            around = Circumstances(plant.link, not plant.denied, expected, bool(plant.verifier))
            row = row_of(seen, state, "ingest", list(ingest_problems(state, seen, around)))
            found.members.append(row)
            if row["key"] in found.visible and seen.report is not None:
                rates = plant.rates.get(seen.member[:4], NO_RATES)
                per_second = present_rates(state, seen, rates, INGEST_MUTE)
                found.figures[row["key"]] = ingest_figures(seen.report, per_second, rates)

    def _unheard(self, plant: Plant) -> Iterator[tuple[str, str]]:
        """Yield site and name of the gateways that the page was given and that the broker knows nothing of."""
        listened = Circumstances(plant.link, not plant.denied).listened
        if listened is None or listened < HEARD_BY:
            return
        for enterprise, site, name in (key[2:] for key in self._given if key[:2] == _broker(plant)):
            seen = plant.fleet.gateway(enterprise, site, name)
            if seen is None or (seen.state is None and not seen.refused):
                yield f"{enterprise}/{site}", name


def _broker(plant: Plant) -> tuple[str, str]:
    return plant.broker.url, plant.broker.root


def _some(members: Sequence[M]) -> list[M]:
    """Return as many members as are shown, those that are not online first."""
    return sorted(members, key=lambda one: one[0].state == "online")[:MAX_MEMBERS]


def _gateways_of(member: Any) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401 - a Member
    """Yield the gateways that an ingest may belong to: its name is `<ingest>-<gateway>`, and both may have a dash."""
    _, dash, rest = member.name.partition("-")
    while dash:
        yield member.enterprise, member.site, rest
        _, dash, rest = rest.partition("-")
