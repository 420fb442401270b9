"""The plants as the page knows them: machines, gateways, ingests, alarms, and what changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from gateway.codecs import Undecodable, decode
from gateway.common.state_log import RepeatLog
from gateway.dashboard.live.alarms import Alarms
from gateway.dashboard.live.gateway_alarms import OWN, GatewayAlarms
from gateway.dashboard.live.machine import LiveMachine
from gateway.dashboard.live.points import configured_points
from gateway.dashboard.live.rates import Rates
from gateway.dashboard.live.roles import level_of
from gateway.ingest.placement import check_levels, placed_scans, source_of
from gateway.ingest.signatures import signatures_of
from gateway.mqtt.messages import BadMessage, IngestReport, LedgerReport, parse_displayed_meta, parse_machine_state
from gateway.mqtt.topics import GATEWAYS, Topics
from gateway.mqtt.verifier import BAD_SIGNATURE, Verdict, Verifier, verifier_of
from gateway.settings.unauthenticated import protocol_without_authentication
from gateway.status.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.dashboard.live.journal import Journal
    from gateway.model.path import MachinePath
    from gateway.model.record import PlacedScan
    from gateway.mqtt.messages import GatewayState
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.session import LinkStatus
    from gateway.mqtt.topics import Member
    from gateway.settings.factory import Factory
    from gateway.settings.sections import BrokerSection

log = structlog.get_logger(__name__)

MAX_REFUSED = 1_000
"""Topics and reasons of refused messages that are noted; further messages are counted alone."""

MAX_MACHINES = 20_000
"""Machines that are shown; further machines are counted."""

LEVELS = {"offline": "error", "degraded": "warning", "online": "info", "starting": "info"}
"""How serious a state of a machine is."""


class Plant:
    """The plants behind a broker. `ignored` counts messages that are not valid or for which there was no room.

    `version` grows with each change of the set of machines, or of a state of any.
    """

    def __init__(self, broker: BrokerSection, journal: Journal, factories: Iterable[Factory] = ()) -> None:
        self.broker = broker
        self.topics = Topics(broker.root)
        given = tuple(factories)
        self.verifier = verifier_of(*given) if given else Verifier(broker.root, {})
        self.fleet = Fleet(broker.root, self.verifier)
        self.refused: Callable[[str, Verdict], None] = _ignore_refused
        """Takes the topic of a message that is not signed as it has to be, once for each reason."""
        self._signatures = signatures_of(given)
        self._refused: set[tuple[str, str]] = set()
        self.rates: dict[tuple[str, ...], Rates] = {}
        """The rates of gateways and ingests, by the levels of their topics."""
        self.machines: dict[MachinePath, LiveMachine] = {}
        self.alarms = Alarms()
        self.gateway_alarms = GatewayAlarms()
        self.answered: Callable[[bytes], None] = _ignored
        """Takes the answers of gateways to commands."""
        self.journal = journal
        self.link: LinkStatus | None = None
        """The connection to the broker; None before the first attempt."""
        self.ignored = 0
        self.version = 0
        self.messages = 0
        """Messages that were read."""
        self.denied: tuple[str, ...] = ()
        """The topic filters whose subscription the broker denies."""
        self._invalid = RepeatLog(log)
        self._states: dict[tuple[str, ...], str] = {}  # the last noted states; bounded by the members
        for factory in given:
            self._configure(factory)

    def _configure(self, factory: Factory) -> None:
        """Add the machines of a configuration, in its order, before any is heard of."""
        for configured in factory.machines:
            machine = self._machine(configured.path)
            if machine is not None:
                machine.describe(configured.template, configured.protocol.name, configured_points(configured))
                machine.gateway = factory.gateway.id
                machine.unauthenticated = protocol_without_authentication(configured.connection)

    def _machine(self, path: MachinePath) -> LiveMachine | None:
        machine = self.machines.get(path)
        if machine is None:
            if len(self.machines) >= MAX_MACHINES:
                return None
            machine = self.machines[path] = LiveMachine(path)
            self.version += 1
        return machine

    def gateway_state(self, machine: LiveMachine) -> GatewayState | None:
        """Return the state of the gateway that reads a machine, None where it is not known."""
        seen = self.fleet.gateway(machine.path.enterprise, machine.path.site, machine.gateway)
        return None if seen is None else seen.state

    def take(self, message: ReceivedMessage) -> None:
        """Read a message; whatever is in it, nothing is raised."""
        self.messages += 1
        try:
            member = self.topics.member_of(message.topic)
            verdict = self.verifier.check(message)
            if verdict.reason:
                self._refuse(message.topic, verdict)
            if member is not None and member.leaf not in {"answer", "data"}:
                self._take_member(member, message, verdict)
            elif verdict.fault:
                self._note_fault(message.topic, verdict)
            elif (alarm := self.topics.alarm_of(message.topic)) is not None:
                self.gateway_alarms.take(*alarm, verdict.payload)
            elif member is not None and member.leaf == "answer":
                self.answered(verdict.payload)
            elif (found := self.topics.machine_of(message.topic)) is not None and found[1] in {"meta", "state"}:
                check_levels(found[0])
                self._take_retained(*found, verdict)
            else:
                self._take_records(message)
        except (ValueError, Undecodable) as error:
            self.ignored += 1
            self._invalid.warning("message.unreadable", key=message.topic, topic=message.topic, error=str(error))

    def _refuse(self, topic: str, verdict: Verdict) -> None:
        """Note a message that is not signed as it has to be, once for each topic and reason."""
        self.ignored += 1
        key = topic, verdict.reason
        if key in self._refused or len(self._refused) >= MAX_REFUSED:
            return
        self._refused.add(key)
        member = self.topics.member_of(topic)
        kind = "machine" if member is None else "gateway" if member.kind == GATEWAYS else "ingest"
        subject = self.topics.place(topic).rpartition("/")[0] if member is None else _subject(member)
        fields = {"reason": verdict.reason, "topic": topic}
        self._note(0, kind, subject.removesuffix("/alarm"), "message refused", "error", **fields)
        self.refused(topic, verdict)

    def _note_fault(self, topic: str, verdict: Verdict) -> None:
        """Mark a machine whose state was refused, until a right state comes."""
        found = self.topics.machine_of(topic)
        machine = None if found is None or found[1] != "state" else self.machines.get(found[0])
        if machine is not None and verdict.reason and machine.fault != verdict.reason:
            machine.fault = verdict.reason
            machine.version += 1
            self.version += 1

    def is_outdated(self, machine: LiveMachine) -> bool:
        """Return whether the state of a machine is of an earlier connection of its gateway than the newest."""
        newest = self.verifier.connection_of(GATEWAYS, machine.path[:2], machine.signer)
        return 0 < machine.connection < newest

    def _take_retained(self, path: MachinePath, leaf: str, verdict: Verdict) -> None:
        payload = verdict.payload
        if not payload:
            if leaf == "state" and self.machines.pop(path, None) is not None:
                self.version += 1
                self.journal.add(_now(), "machine", str(path), "removed")
            return
        machine = self._machine(path)
        if machine is None:
            raise BadMessage("is of another machine than can be shown")
        if leaf == "meta":
            machine.take_meta(parse_displayed_meta(payload))
            self.version += 1
            return
        before = machine.state
        state = parse_machine_state(payload)
        if verdict.verified and state.gateway != verdict.by:
            raise BadMessage(f"names gateway {state.gateway}, and is signed by {verdict.by}")
        machine.signer, machine.connection, machine.fault = verdict.by, verdict.connection, ""
        if machine.take_state(state):
            self.version += 1
            if before != "unknown" or state.state != "online":
                self.journal.add(
                    state.since or _now(), "machine", str(path), state.state, LEVELS[state.state],
                    reason=state.reason, gateway=state.gateway, was=before,
                )  # fmt: skip

    def _take_records(self, message: ReceivedMessage) -> None:
        if not message.payload:
            return  # it removes a retained message, or tries a right
        source = source_of(self.topics, message.topic)
        if source is None or message.retain:
            return
        events = message.topic.endswith("/event")
        record = decode(message.payload)
        if fault := self._signatures.fault(record.gateway, self.topics.place(message.topic), message.payload):
            self._refuse(message.topic, Verdict(message.payload, fault=fault, reason=BAD_SIGNATURE))
            return
        for placed in placed_scans(source, record):
            if events:
                self._take_events(placed)
            else:
                self._take_scan(placed)

    def _take_scan(self, placed: PlacedScan) -> None:
        machine = self._machine(placed.path)
        if machine is None or (machine.meta_id and placed.meta and machine.meta_id != placed.meta):
            return
        produced = machine.production[-1].state if machine.production else ""
        machine.take_scan(placed.scan)
        if machine.production and machine.production[-1].state != produced:
            self.version += 1
            now = machine.production[-1]
            if produced:
                level = level_of(now.state)
                self.journal.add(now.time, "production", str(placed.path), now.state, level, was=produced)

    def _take_events(self, placed: PlacedScan) -> None:
        for name, value in placed.scan.values.items():
            time_of = placed.scan.times.get(name, placed.scan.time)
            alarm = self.alarms.take(placed.path, time_of, value)
            if alarm is not None:
                self.version += 1
                level = "error" if alarm.change == "active" else "info"
                self.journal.add(
                    time_of, "alarm", str(placed.path), alarm.change, level,
                    source=alarm.source, name=alarm.name, message=alarm.message, severity=str(alarm.severity),
                )  # fmt: skip

    def _take_member(self, member: Member, message: ReceivedMessage, verdict: Verdict) -> None:
        """Read a message of a gateway or an ingest, and note a change of its state or of its stores."""
        before = self.fleet.ignored
        self.fleet.take(message, verdict)
        self.ignored += self.fleet.ignored - before
        seen = self.fleet.find(member)
        if seen is None:
            self.rates.pop(member[:4], None)
            return
        if verdict.fault:
            self.version += 1
            return
        if member.leaf in {"ledger", "report"} and seen.report is not None:
            self.rates.setdefault(member[:4], Rates()).take(*_counts(seen.report))
        state = seen.state
        if member.leaf == "ledger" or state is None:
            return
        kind = "gateway" if member.kind == GATEWAYS else "ingest"
        subject = _subject(member)
        key = (*member[:4], "state")
        if self._changed(key, state.state):
            level = "info" if state.state == "online" else "error"
            self._note(state.since, kind, subject, state.state, level, reason=state.reason, host=state.host)
        if state.config and self._changed((*member[:4], "config"), state.config):
            self._note(state.since, "configuration", subject, state.config, version=state.version)
        for store in seen.report.stores if isinstance(seen.report, IngestReport) else ():
            if self._changed((*key[:4], "store", store.store), store.state):
                level = "error" if store.state == "unavailable" else "info"
                self._note(store.since, "store", f"{subject} {store.store}", store.state, level, error=store.error)

    def _changed(self, key: tuple[str, ...], value: str) -> bool:
        """Remember a state; return whether it is another than before."""
        if self._states.get(key) == value:
            return False
        self._states[key] = value
        return True

    def _note(self, since: int, kind: str, subject: str, event: str, level: str = "info", **fields: str) -> None:
        self.version += 1
        self.journal.add(since or _now(), kind, subject, event, level, **fields)

    def subscriptions_denied(self, filters: Iterable[str]) -> None:
        """Note the topic filters whose subscription the broker denied on the present connection."""
        self.denied = tuple(filters)
        self.fleet.denied = self.denied
        for topic in self.denied:
            hint = f"grant the user of the page the right to subscribe to {topic}"
            log.error("mqtt.subscribe_denied", topic=topic, hint=hint)
        self.version += 1

    def knows_normal(self, key: str) -> bool:
        """Return whether an alarm without a retained message is normal: if all messages of gateways were heard."""
        return (
            key.startswith(OWN)
            and not self.gateway_alarms.dropped
            and not any("/alarm/" in one for one in self.denied)
        )

    def connection_changed(self, link: LinkStatus) -> None:
        """Note that the connection to the broker was made or lost."""
        was, self.link = self.link, link
        if was is None or was.connected != link.connected:
            event, level = ("connected", "info") if link.connected else ("not connected", "error")
            self._note(link.since, "broker", link.broker, event, level, error=link.error)


def _counts(report: LedgerReport | IngestReport) -> tuple[float, dict[str, int], int]:
    """Return the seconds of the sender's clock, the counts of a report that have rates, and its time."""
    if isinstance(report, IngestReport):
        return report.time / 1e6, {"readings": report.readings, "records": report.records}, report.time
    ledger = report.ledger
    counts = {
        "acquired": ledger.acquired, "unchanged": ledger.unchanged, "confirmed": ledger.confirmed,
        "dropped": sum(ledger.dropped.values()), "due": report.schedule.due, "missed": report.schedule.missed,
    }  # fmt: skip
    return report.seconds or report.time / 1e6, counts, report.time


def _subject(member: Member) -> str:
    return f"{member.enterprise}/{member.site}/{member.name}"


def _ignore_refused(topic: str, verdict: Verdict) -> None:
    """Ignore a refused message: nobody keeps an audit log."""
    del topic, verdict


def _ignored(payload: bytes) -> None:
    """Ignore an answer: this page sends no commands."""
    del payload


def _now() -> int:
    return time.time_ns() // 1000
