"""The fleet as text, for people: a table of gateways, a table of ingests, and the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.common.digests import short_digest
from gateway.common.text import printable
from gateway.status.box_text import since, size_text
from gateway.status.fleet import NOT_VERIFIED

if TYPE_CHECKING:
    from collections.abc import Sequence

_GATEWAY = (
    "gateway",
    "state",
    "version",
    "config",
    "acquired",
    "pending",
    "dropped",
    "spool",
    "missed",
    "ledger",
    "host",
)
_INGEST = ("ingest", "state", "version", "config", "readings", "lag", "dead letters", "stores", "host")


def fleet_text(report: dict[str, Any]) -> str:
    """Return the fleet as lines of text."""
    verifies = report["verifies"]
    gateways = [_gateway(one, verifies=verifies) for one in report["gateways"]]
    ingests = [_ingest(one, verifies=verifies) for one in report["ingests"]]
    lines = [*_table(_GATEWAY, gateways), "", *_table(_INGEST, ingests), ""]
    lines += report["findings"] or ["nothing to act on"]
    return "\n".join(map(printable, lines))


def _gateway(one: dict[str, Any], *, verifies: bool) -> tuple[str, ...]:
    ledger = one["ledger"]
    if ledger is None:
        counts: tuple[str, ...] = ("-",) * 6
    else:
        dropped = sum(ledger["dropped"].values())
        balance = "balanced" if one["balanced"] else "NOT BALANCED"
        numbers = (ledger["acquired"], ledger["pending"], dropped)
        counts = (*(f"{n:,}" for n in numbers), size_text(one["spool_bytes"]), f"{one['missed']:,}", balance)
    return (
        f"{one['site']}/{one['id']}",
        _state(one, verifies=verifies),
        one["version"] or "-",
        short_digest(one["config"]) or "-",
        *counts,
        one["host"],
    )


def _ingest(one: dict[str, Any], *, verifies: bool) -> tuple[str, ...]:
    readings = "-" if one["readings"] is None else f"{one['readings']:,}"
    lag = "-" if one["lag_ms"] is None else f"{one['lag_ms']:,.0f} ms"
    letters = "-" if one["dead_letters"] is None else f"{one['dead_letters']:,}"
    stores = ", ".join(f"{store['store']} {store['state']}" for store in one["stores"]) or "-"
    name = f"{one['site']}/{one['id']}"
    return (
        name,
        _state(one, verifies=verifies),
        one["version"] or "-",
        short_digest(one["config"]) or "-",
        readings,
        lag,
        letters,
        stores,
        one["host"],
    )


def _state(one: dict[str, Any], *, verifies: bool) -> str:
    """Return the state for people, with a mark if this command verifies states, and this state has no signature."""
    if one["state"] == NOT_VERIFIED:
        return NOT_VERIFIED
    return _plain_state(one) + (f", {NOT_VERIFIED}" if verifies and not one["verified"] else "")


def _plain_state(one: dict[str, Any]) -> str:
    if one["state"] == "online" or one["since"]:
        return f"{one['state']}{since(one['since'])}"
    return f"offline, last seen{since(one['last_seen']).removeprefix(' since')}" if one["last_seen"] else "offline"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table with columns as wide as their texts."""
    if not rows:
        return [f"no {head[0]} is known at this broker"]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
