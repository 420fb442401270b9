"""Every gateway and ingest that a broker knows, out of their retained states and their reports.

Any client may publish anything on these topics: messages are bounded by their models, names by `FORBIDDEN_TEXT`, and
the number of members by `MAX_MEMBERS`. Messages that are not valid are counted and left out.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gateway.common.tasks import cancel_and_wait
from gateway.common.text import counted
from gateway.model.text import MAX_NAME, check_text
from gateway.mqtt.messages import (
    BadMessage,
    GatewayState,
    IngestState,
    parse_gateway_state,
    parse_ingest_report,
    parse_ingest_state,
    parse_ledger,
)
from gateway.mqtt.session import Session
from gateway.mqtt.topics import GATEWAYS, INGESTS, Topics
from gateway.mqtt.verifier import REPEATED, Verifier
from gateway.software.version_order import is_older
from gateway.status.spool import iso_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.messages import ClientState, IngestReport, LedgerReport
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.session import LinkStatus
    from gateway.mqtt.topics import Member
    from gateway.mqtt.verifier import Verdict
    from gateway.settings.sections import BrokerSection

MAX_MEMBERS = 10_000
"""Gateways and ingests that are shown; further names are counted."""

CONNECT_SECONDS = 10.0
"""Seconds in which the broker must answer, with each of its addresses."""

QUIET = 0.5
"""Seconds without a message of a new member after which all retained messages have come."""

LISTEN = 3.0
"""Seconds to listen at the most: reports come every second, retained messages at once."""

LOOK_EVERY = 0.05
"""Seconds between two looks whether all members have reported."""

NOT_VERIFIED = "not verified"
"""The state of a member whose messages were refused, and of which no state is known."""

MOST_BEHIND = 300.0
"""Seconds that signed reports may be behind or ahead: clocks differ, and a person has to find out which is wrong."""

MUTE = 15.0
"""Seconds without a report after which an online gateway is mute; it reports every second."""


Key = tuple[str, ...]
"""The levels of a member's topics: enterprise, site, kind and name."""


class NotReachable(Exception):
    """The broker does not answer, refuses the client, or denies the states of gateways; the text says which."""


S = TypeVar("S", bound="ClientState")
R = TypeVar("R", bound="LedgerReport | IngestReport")


@dataclass(slots=True)
class Seen(Generic[S, R]):
    """A gateway or an ingest.

    `heard` is the monotonic time of its last report, `changed` that of the message that changed its state. Retained
    messages do not count; both are 0 at first. `verified` is whether its state is signed, by the connection of
    `connection`. `refused` counts the messages that are not signed as they have to be, `reason` and `fault` say what
    is wrong with the last of them. `behind` is the time since the last signed report by the clocks of both sides, in
    seconds; None before it.
    """

    member: Member
    state: S | None = None
    report: R | None = None
    heard: float = 0.0
    changed: float = 0.0
    verified: bool = False
    connection: int = 0
    refused: int = 0
    reason: str = ""
    fault: str = ""
    behind: float | None = None

    def take_state(self, state: S, verdict: Verdict, *, retained: bool) -> None:
        """Take a state that may be believed."""
        before, self.state = self.state, state
        self.verified, self.connection = verdict.verified, verdict.connection
        if not retained and (before is None or before.state != state.state):
            self.changed = time.monotonic()

    def take_report(self, report: R, verdict: Verdict, *, retained: bool) -> None:
        """Take a report that may be believed.

        A state that was retained, and is of an earlier connection, is dropped: its gateway has published a later
        state, which somebody has replaced.
        """
        self.report = report
        if not retained:
            self.heard = time.monotonic()
            self.behind = time.time() - report.time / 1e6 if verdict.verified else None
        if self.state is not None and self.verified and self.connection < verdict.connection:
            self.state, self.verified = None, False
            self.refuse(REPEATED, "its state is of an earlier connection than its reports")

    def refuse(self, reason: str, fault: str) -> None:
        """Count a message that must not be believed."""
        self.refused, self.reason, self.fault = self.refused + 1, reason, fault


class Fleet:
    """All gateways and ingests of a broker, as their messages show them. `ignored` counts invalid messages.

    Without a `verifier` no message has to be signed.
    """

    def __init__(self, root: str, verifier: Verifier | None = None) -> None:
        self.topics = Topics(root)
        self.verifier = verifier or Verifier(root, {})
        self.ignored = 0
        self.denied: tuple[str, ...] = ()
        """The topic filters whose subscription the broker has denied."""
        self.changed_at = time.monotonic()
        """The monotonic time at which the latest new member was heard of."""
        self._gateways: dict[Key, Seen[GatewayState, LedgerReport]] = {}
        self._ingests: dict[Key, Seen[IngestState, IngestReport]] = {}

    @property
    def state_filters(self) -> tuple[str, ...]:
        """The topic filters without which nothing is known."""
        return self.topics.all_gateways("state"), self.topics.all_ingests()

    @property
    def report_filters(self) -> tuple[str, ...]:
        """The topic filters of reports."""
        return self.topics.all_gateways("ledger"), self.topics.all_ingests("report")

    def take(self, message: ReceivedMessage, verdict: Verdict | None = None) -> None:
        """Read a message; whatever is in it, nothing is raised. Without a `verdict` it is verified here."""
        member = self.topics.member_of(message.topic)
        if member is None:
            return
        verdict = verdict or self.verifier.check(message)
        try:
            if member.kind == GATEWAYS:
                self._read(self._gateways, member, message, verdict, "ledger", parse_gateway_state, parse_ledger)
            else:
                self._read(self._ingests, member, message, verdict, "report", parse_ingest_state, parse_ingest_report)
        except BadMessage:
            self.ignored += 1

    def _read(
        self,
        known: dict[Key, Seen[S, R]],
        member: Member,
        message: ReceivedMessage,
        verdict: Verdict,
        report: str,
        parse_state: Callable[[bytes], S],
        parse_report: Callable[[bytes], R],
    ) -> None:
        key = member[:4]
        if member.leaf not in {"state", report}:
            return
        if not verdict.payload and not verdict.fault:  # its gateway or a person has cleared the retained message
            if member.leaf == "state":
                known.pop(key, None)
            return
        seen = known.get(key)
        if seen is None:
            if len(self._gateways) + len(self._ingests) >= MAX_MEMBERS or not _are_names(key):
                raise BadMessage("is of another member than can be shown")
            seen = Seen(member)
        if verdict.fault:
            if not verdict.reason:
                return
            seen.refuse(verdict.reason, verdict.fault)
        elif member.leaf == "state":
            seen.take_state(parse_state(verdict.payload), verdict, retained=message.retain)
        else:
            seen.take_report(parse_report(verdict.payload), verdict, retained=message.retain)
        if key not in known:
            self.changed_at = time.monotonic()
            known[key] = seen

    def find(self, member: Member) -> Seen[GatewayState, LedgerReport] | Seen[IngestState, IngestReport] | None:
        """Return a gateway or an ingest, None if nothing is known of it."""
        key = member[:4]
        return self._gateways.get(key) if member.kind == GATEWAYS else self._ingests.get(key)

    def gateway(self, enterprise: str, site: str, name: str) -> Seen[GatewayState, LedgerReport] | None:
        """Return a gateway, None if nothing is known of it."""
        return self._gateways.get((enterprise, site, GATEWAYS, name))

    @property
    def gateways(self) -> list[tuple[GatewayState, Seen[GatewayState, LedgerReport]]]:
        """All gateways with their states, by name; a report without a state makes none."""
        return [(one.state, one) for _, one in sorted(self._gateways.items()) if one.state is not None]

    @property
    def ingests(self) -> list[tuple[IngestState, Seen[IngestState, IngestReport]]]:
        """All ingests with their states, by name."""
        return [(one.state, one) for _, one in sorted(self._ingests.items()) if one.state is not None]

    @property
    def not_verified(self) -> list[Seen[Any, Any]]:
        """All gateways and ingests of which messages were refused, and no state is known."""
        gateways: list[tuple[Key, Seen[Any, Any]]] = sorted(self._gateways.items())
        ingests: list[tuple[Key, Seen[Any, Any]]] = sorted(self._ingests.items())
        return [one for _, one in gateways + ingests if one.state is None and one.refused]

    @property
    def complete(self) -> bool:
        """Whether no further member has come for a while, and every gateway that is online has reported."""
        reported = all(one.heard or state.state == "offline" for state, one in self.gateways)
        return time.monotonic() - self.changed_at > QUIET and (reported or bool(self.denied))


def _are_names(levels: tuple[str, ...]) -> bool:
    try:
        return all(level and check_text(level, MAX_NAME) for level in levels)
    except ValueError:
        return False


async def follow_fleet(
    broker: BrokerSection,
    stop: asyncio.Event,
    show: Callable[[Fleet, LinkStatus], bool],
    every: float,
    verifier: Verifier | None = None,
) -> None:
    """Listen to all gateways and ingests until `stop` is set or `show` returns True.

    `show` is called once all members have reported, after `LISTEN` seconds at the latest, and then each `every`
    seconds, also while the connection is lost. Raises `NotReachable` if the first connection can't be made in time.
    """
    fleet = Fleet(broker.root, verifier)
    session = Session(broker, f"lineside-fleet-{secrets.token_hex(3)}", quiet=True)
    subscribed = asyncio.Event()

    async def serve(link: MqttClient) -> None:
        fleet.denied = tuple(await link.subscribe_to(*fleet.state_filters, *fleet.report_filters, qos=0))
        fleet.changed_at = time.monotonic()
        subscribed.set()
        while True:
            message = await link.receive()
            link.acknowledge(message)
            fleet.take(message)

    tasks = [
        asyncio.create_task(session.run(serve), name="broker session"),
        asyncio.create_task(_show(fleet, session, subscribed, show, every), name="fleet"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _show(
    fleet: Fleet,
    session: Session,
    subscribed: asyncio.Event,
    show: Callable[[Fleet, LinkStatus], bool],
    every: float,
) -> None:
    """Wait for the broker and the first reports, then show the fleet until `show` returns True."""
    await _wait_for_broker(session, subscribed)
    if denied := sorted(set(fleet.denied) & set(fleet.state_filters)):
        raise NotReachable(
            f"the broker denies the subscription to {', '.join(denied)}: grant the user of CONFIG the right to it"
        )
    for _ in range(round(LISTEN / LOOK_EVERY)):
        if fleet.complete:
            break
        await asyncio.sleep(LOOK_EVERY)
    while True:
        if show(fleet, session.link):
            return
        await asyncio.sleep(every)


async def _wait_for_broker(session: Session, subscribed: asyncio.Event) -> None:
    waiting = asyncio.create_task(subscribed.wait(), name="subscribed")
    try:
        limit = CONNECT_SECONDS * len(session.broker.addresses)
        await asyncio.wait((waiting,), timeout=limit)
    finally:
        await cancel_and_wait(waiting)
    if not subscribed.is_set():
        link = session.link
        raise NotReachable(link.error or f"{link.broker} does not answer within {limit:g} s")


# -- as plain data --


def fleet_report(fleet: Fleet, link: LinkStatus) -> dict[str, Any]:
    """Return the fleet as plain data; docs/status.md explains the keys."""
    report: dict[str, Any] = {
        "time": iso_time(time.time_ns() // 1000),
        "broker": link.broker,
        "connected": link.connected,
        "verifies": bool(fleet.verifier),
        "gateways": [_gateway(*one) for one in fleet.gateways] + _not_verified(fleet, GATEWAYS),
        "ingests": [_ingest(*one) for one in fleet.ingests] + _not_verified(fleet, INGESTS),
        "ignored_messages": fleet.ignored,
        "denied": list(fleet.denied),
    }
    report["newest_version"] = _newest([*report["gateways"], *report["ingests"]])
    return report | {"findings": list(_findings(report, link))}


def _findings(report: dict[str, Any], link: LinkStatus) -> Iterator[str]:
    """Yield the problems that a person should act on, as lines of text."""
    if not link.connected:
        yield f"not connected to {link.broker} since {iso_time(link.since)}: {link.error}"
    for one in report["gateways"]:
        yield from (f"gateway {one['site']}/{one['id']}: {problem}" for problem in _gateway_problems(one, report))
    for one in report["ingests"]:
        yield from (f"ingest {one['site']}/{one['id']}: {problem}" for problem in _ingest_problems(one, report))
    if report["ignored_messages"]:
        yield f"{report['ignored_messages']:,} messages on topics of gateways and ingests are not valid"
    for topic in report["denied"]:
        yield f"the broker denies the subscription to {topic}: grant the user of CONFIG the right to it"


def _not_verified(fleet: Fleet, kind: str) -> list[dict[str, Any]]:
    """Return the rows of members whose state is not known, because their messages were refused."""
    found = [seen for seen in fleet.not_verified if seen.member.kind == kind]
    if kind == GATEWAYS:
        rows = [_gateway(GatewayState(state="offline", instance="-"), seen) for seen in found]
    else:
        rows = [_ingest(IngestState(state="offline", instance="-"), seen) for seen in found]
    return [row | {"state": NOT_VERIFIED} for row in rows]


def _signature_problems(one: dict[str, Any]) -> Iterator[str]:
    if one["refused_messages"]:
        yield f"{counted(one['refused_messages'], 'message')} refused, the last because {one['fault']}"
    behind = one["behind_seconds"]
    if behind is not None and abs(behind) > MOST_BEHIND:
        where = "behind" if behind > 0 else "ahead of"
        yield (
            f"its reports are {abs(behind):,.0f} s {where} the clock of this computer: a clock is wrong, or somebody "
            "repeats old messages"
        )


def _gateway_problems(one: dict[str, Any], report: dict[str, Any]) -> Iterator[str]:
    yield from _signature_problems(one)
    if one["state"] == NOT_VERIFIED:
        return
    if one["state"] != "online":
        yield _offline(one)
        return
    silent = one["silent_seconds"]
    if report["connected"] and not report["denied"] and (silent is None or silent > MUTE):
        yield "it is online, and does not report"
    if one["balanced"] is False:
        yield "the ledger does not balance"
    if one["clock_trusted"] is False:
        yield "its clock can't be trusted"
    yield from _old_version(one, report["newest_version"])


def _ingest_problems(one: dict[str, Any], report: dict[str, Any]) -> Iterator[str]:
    yield from _signature_problems(one)
    if one["state"] == NOT_VERIFIED:
        return
    if one["state"] != "online":
        yield _offline(one)
        return
    for store in one["stores"]:
        if store["state"] != "available":
            yield f"store {store['store']} is {store['state']}: {store['error'] or 'no error so far'}"
    yield from _old_version(one, report["newest_version"])


def _newest(members: Iterable[dict[str, Any]]) -> str | None:
    """Return the newest version that a member runs; None if none has said one."""
    newest: str | None = None
    for version in {one["version"] for one in members}:
        with suppress(ValueError):  # any client may publish a text there
            if is_older(newest or "0.dev0", version):
                newest = version
    return newest


def _old_version(one: dict[str, Any], newest: str | None) -> Iterator[str]:
    with suppress(ValueError):
        if newest is not None and is_older(one["version"], newest):
            yield f"it runs version {one['version']}, and {newest} is the newest that was seen; update it"


def _offline(one: dict[str, Any]) -> str:
    seen = f" since {one['since']}" if one["since"] else f", last seen {one['last_seen']}" if one["last_seen"] else ""
    return f"offline{seen} ({one['reason'] or 'no reason given'})"


def _head(state: ClientState, seen: Seen[Any, Any]) -> dict[str, Any]:
    """Return the keys that gateways and ingests have.

    `since` is the beginning of the state. Where a connection was lost, its end is not known; `last_seen` is then the
    time of the last retained report.
    """
    report = seen.report
    return {
        "id": seen.member.name,
        "enterprise": seen.member.enterprise,
        "site": seen.member.site,
        "state": state.state,
        "reason": state.reason,
        "since": _time(state.since),
        "last_seen": _time(max(0 if report is None else report.time, state.since, state.online_since)),
        "started": _time(state.started),
        "version": state.version,
        "host": state.host,
        "config": state.config or ("" if report is None else report.config),
        "silent_seconds": round(time.monotonic() - seen.heard, 1) if seen.heard else None,
        "verified": seen.verified,
        "refused_messages": seen.refused,
        "fault": seen.fault,
        "behind_seconds": None if seen.behind is None else round(seen.behind, 1),
    }


def _gateway(state: GatewayState, seen: Seen[GatewayState, LedgerReport]) -> dict[str, Any]:
    found, report = _head(state, seen), seen.report
    if report is None:
        missing = ("ledger", "balanced", "spool_bytes", "missed", "clock_trusted", "points")
        return found | dict.fromkeys(missing)
    return found | {
        "ledger": report.ledger.model_dump(),
        "balanced": report.balanced,
        "spool_bytes": report.spool_bytes,
        "missed": report.schedule.missed,
        "clock_trusted": None if report.clock is None else report.clock.trusted,
        "points": None if report.points is None else report.points.model_dump(),
    }


def _ingest(state: IngestState, seen: Seen[IngestState, IngestReport]) -> dict[str, Any]:
    found, report = _head(state, seen), seen.report
    if report is None:
        return found | dict.fromkeys(("lag_ms", "stored", "readings", "dead_letters")) | {"stores": []}
    return found | {
        "lag_ms": report.lag_ms,
        "stored": _time(report.stored),
        "readings": report.readings,
        "dead_letters": report.dead_letters,
        "stores": [one.model_dump() | {"since": _time(one.since)} for one in report.stores],
    }


def _time(micros: int) -> str | None:
    return iso_time(micros) if micros else None
