"""Gateways and ingests as the delivery view shows them: their problems, and their figures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.common.digests import same_digest, short_digest
from gateway.mqtt.messages import MAX_SEQ
from gateway.status.fleet import MUTE, NOT_VERIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.dashboard.live.rates import Rates
    from gateway.mqtt.messages import ClientState, GatewayState, IngestReport, IngestState, LedgerReport
    from gateway.mqtt.session import LinkStatus
    from gateway.settings.factory import Factory
    from gateway.status.fleet import Seen

INGEST_MUTE = 25.0
"""Seconds without a report after which an online ingest is mute; it reports every 10 s."""

OLD = 60.0
"""Seconds from which on a pending record, or the lag of an ingest, is worth a warning."""

ERROR, WARNING, NORMAL = 2, 1, 0
"""How serious a problem is."""


class Problem(NamedTuple):
    """A problem of a member: the page has a text for each `code`, with the values of `more`."""

    code: str
    level: int
    more: Mapping[str, Any]


class Circumstances(NamedTuple):
    """The knowledge of the page beside a member's own messages.

    `link` is the page's connection to the broker; `hears` is False while the broker denies it a subscription.
    `digest` is that of the configuration which the page was given for a gateway, or which the gateway of an ingest
    runs; empty where it is not known. `verifies` is whether the page has keys of gateways or ingests.
    """

    link: LinkStatus | None
    hears: bool
    digest: str = ""
    verifies: bool = False

    @property
    def listened(self) -> float | None:
        """The seconds for which the page has listened without a break; None while it does not."""
        if self.link is None or not self.link.connected or not self.hears:
            return None
        return max(0.0, time.time() - self.link.since / 1e6)


def silence(seen: Seen[Any, Any], around: Circumstances) -> float | None:
    """Return the seconds without a report since its state changed, while the page listened; None if it does not."""
    listened = around.listened
    return None if listened is None else min(time.monotonic() - max(seen.heard, seen.changed), listened)


def signature_problems(seen: Seen[Any, Any], around: Circumstances) -> Iterator[Problem]:
    """Yield the faults of the signatures of a member, without counts: a row that is the same is not sent again."""
    if seen.refused:
        yield Problem("refused", ERROR, {"reason": seen.reason})
    if around.verifies and seen.state is not None and not seen.verified:
        yield Problem("unsigned", WARNING, {})


def gateway_problems(
    state: GatewayState, seen: Seen[GatewayState, LedgerReport], rates: Mapping[str, float], around: Circumstances
) -> Iterator[Problem]:
    """Yield the problems of a gateway, the worst first."""
    report = seen.report
    yield from signature_problems(seen, around)
    if state.state != "online":
        yield _offline(state, seen)
    elif (silent := silence(seen, around)) is not None and silent > MUTE:
        yield Problem("mute", ERROR, {"seen": _last_seen(state, seen)})
    if report is None:
        return
    if not report.balanced:
        yield Problem("unbalanced", ERROR, {"missing": missing(report)})
    if rates.get("dropped"):
        yield Problem("dropping", ERROR, {"rate": rates["dropped"]})
    if report.clock is not None and not report.clock.trusted:
        yield Problem("clock", WARNING, {})
    pending, age = report.ledger.pending, report.oldest_seconds or 0.0
    if pending and age > OLD:
        # in whole minutes, and without the count: a row that is the same is not sent again
        yield Problem("waiting", WARNING, {"seconds": age // OLD * OLD})
    config = state.config or report.config
    if around.digest and config and not same_digest(config, around.digest):
        yield Problem("other_file", WARNING, _both(config, around.digest))


def ingest_problems(
    state: IngestState, seen: Seen[IngestState, IngestReport], around: Circumstances
) -> Iterator[Problem]:
    """Yield the problems of an ingest and its stores, the worst first."""
    report = seen.report
    yield from signature_problems(seen, around)
    if state.state != "online":
        yield _offline(state, seen)
    elif (silent := silence(seen, around)) is not None and silent > INGEST_MUTE:
        yield Problem("mute", ERROR, {"seen": _last_seen(state, seen)})
    if report is None:
        return
    for store in report.stores:
        if store.state != "available":
            level = ERROR if store.state == "unavailable" else WARNING
            more = {"store": store.store, "error": store.error, "since": store.since}
            yield Problem(f"store_{store.state}", level, more)
    if report.lag_ms is not None and report.lag_ms > OLD * 1000:
        yield Problem("lag", WARNING, {"seconds": report.lag_ms // 1000})
    config = state.config or report.config
    if around.digest and config and not same_digest(config, around.digest):
        yield Problem("other_gateway", WARNING, _both(config, around.digest))


def _both(config: str, given: str) -> dict[str, str]:
    return {"config": short_digest(config), "given": short_digest(given)}


def _offline(state: ClientState, seen: Seen[Any, Any]) -> Problem:
    return Problem("offline", ERROR, {"reason": state.reason, "since": state.since, "seen": _last_seen(state, seen)})


def _last_seen(state: ClientState, seen: Seen[Any, Any]) -> int:
    """Return the latest time at which a member is known to have been there, in microseconds; 0 if it is not known."""
    return max(0 if seen.report is None else seen.report.time, state.since, state.online_since)


def bounded(count: int) -> int:
    """Return a count that JSON can hold: the sum of counts that anybody may have published can be any number."""
    return max(-MAX_SEQ, min(count, MAX_SEQ))


def missing(report: LedgerReport) -> int:
    """Return the readings of a report that are not accounted for: 0 if its ledger balances."""
    ledger = report.ledger
    known = ledger.unchanged + ledger.pending + ledger.confirmed + sum(ledger.dropped.values())
    return bounded(ledger.acquired - known)


def row_of(seen: Seen[Any, Any], state: ClientState, kind: str, problems: list[Problem]) -> dict[str, Any]:
    """Return a member without figures: its identity, its state, and its problems."""
    member = seen.member
    site = f"{member.enterprise}/{member.site}"
    return {
        "key": key_of(kind, site, member.name), "kind": kind, "name": member.name, "site": site,
        "state": state.state, "since": state.since,
        "started": state.started, "host": state.host, "version": state.version, "connection": state.birth,
        "config": state.config or ("" if seen.report is None else seen.report.config),
        "level": max((one.level for one in problems), default=NORMAL),
        "problems": [list(one) for one in problems],
    }  # fmt: skip


def row_of_unheard(site: str, name: str) -> dict[str, Any]:
    """Return the row of a gateway that is configured, and of which the broker has nothing."""
    return {
        "key": key_of("gateway", site, name), "kind": "gateway", "name": name, "site": site, "state": "unknown",
        "level": ERROR, "problems": [["unheard", ERROR, {}]],
    }  # fmt: skip


def row_of_refused(seen: Seen[Any, Any], kind: str) -> dict[str, Any]:
    """Return the row of a member whose messages were refused, and of which no state is known."""
    site, name = f"{seen.member.enterprise}/{seen.member.site}", seen.member.name
    return {
        "key": key_of(kind, site, name), "kind": kind, "name": name, "site": site, "state": NOT_VERIFIED,
        "level": ERROR, "problems": [["refused", ERROR, {"reason": seen.reason}]],
    }  # fmt: skip


def key_of(kind: str, site: str, name: str) -> str:
    """Return the key of a member; `kind` is gateway or ingest."""
    return f"{kind}/{site}/{name}"


def present_rates(state: ClientState, seen: Seen[Any, Any], rates: Rates, mute: float) -> dict[str, float]:
    """Return the rates of a member that is online and reports; none of one that is silent for `mute` seconds."""
    silent = not seen.heard or time.monotonic() - seen.heard > mute
    return {} if silent or state.state != "online" else rates.per_second


def gateway_figures(
    report: LedgerReport, per_second: Mapping[str, float], rates: Rates, given: Factory | None
) -> dict[str, Any]:
    """Return the figures of a gateway: its ledger, and the rest of its report.

    `oldest_seconds` is missing where the gateway does not report it, and None where it does not know it.
    """
    found = report.model_dump(exclude={"version", "config", "oldest_seconds"})
    if "oldest_seconds" in report.model_fields_set:
        found["oldest_seconds"] = report.oldest_seconds
    found |= {"missing": missing(report), "rates": per_second, "trend": _trend(rates)}
    if given is not None:
        found["spool_limit"] = given.gateway.spool.max_size
    return found


def ingest_figures(report: IngestReport, per_second: Mapping[str, float], rates: Rates) -> dict[str, Any]:
    """Return the figures of an ingest."""
    return report.model_dump(exclude={"version", "config"}) | {"rates": per_second, "trend": _trend(rates)}


def _trend(rates: Rates) -> list[list[float]]:
    return [[time_of, rate] for time_of, rate in zip(rates.times, rates.trend, strict=True)]
