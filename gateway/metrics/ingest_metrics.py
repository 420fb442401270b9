"""Make samples of the counters of ingest."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from gateway.metrics.process_metrics import add_build, add_process
from gateway.metrics.samples import Samples
from gateway.mqtt.verifier import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.ingest.service import Ingest
    from gateway.ingest.store_writer import StoreWriter

NOT_STORED = ("bad_signature", "expired", "ignored", "not_writable", "other_gateway", "refused", "store_error")
"""Why stores do not take readings: each has a series from the start."""

STORE_EVENTS = ("rows_ignored", "scans_merged")
"""Events that stores count, likewise."""


def ingest_samples(
    ingest: Ingest, writers: Sequence[StoreWriter], configuration: tuple[str, str, str, str]
) -> Samples:
    """Return the present values, in the event loop of ingest; see `add_build` for `configuration`."""
    found, began = Samples(), time.thread_time()
    status = ingest.status
    add_build(found, configuration)
    found.set("lineside_ingest_records_total", status.records)
    found.set("lineside_ingest_readings_total", status.readings)
    found.set("lineside_ingest_readings_set_aside_total", status.set_aside)
    found.set_each("lineside_ingest_readings_not_stored_total", status.not_stored, NOT_STORED)
    found.set("lineside_ingest_dead_letters_total", status.dead_letters)
    found.set("lineside_ingest_dead_letters_dropped_total", status.letters_dropped)
    found.set("lineside_ingest_dead_letters_waiting", ingest.waiting_letters)
    found.set("lineside_ingest_records_waited_for_metadata_total", status.waiting_for_metadata)
    found.set("lineside_ingest_confirmations_denied_total", status.confirmations_denied)
    found.set("lineside_ingest_machines_claimed_total", status.machines_claimed)
    found.set("lineside_ingest_retained_ignored_total", status.retained_ignored)
    found.set_each("lineside_ingest_messages_refused_total", status.messages_refused, REASONS)
    found.set("lineside_ingest_batches_not_durable", ingest.not_durable)
    found.set_histogram("lineside_ingest_lag_seconds", status.latency)
    found.set("lineside_ingest_last_write_timestamp_seconds", status.last_stored / 1e6)
    found.set("lineside_ingest_broker_connected", ingest.session.connected)
    found.set("lineside_ingest_broker_connects_total", ingest.session.connects)
    for name, writer in named(writers):
        found.set("lineside_store_available", writer.state == "available", name)
        found.set("lineside_store_failures_total", writer.failures, name)
        found.set_histogram("lineside_store_write_seconds", writer.writes, name)
        for event in dict.fromkeys((*STORE_EVENTS, *writer.counts)):
            found.set("lineside_store_events_total", writer.counts.get(event, 0), name, event)
    add_process(found)
    found.set("lineside_scrape_collect_seconds", time.thread_time() - began)
    return found


def named(writers: Sequence[StoreWriter]) -> Iterator[tuple[str, StoreWriter]]:
    """Yield each store under a name of its own: the second of a kind is `sqlite-2`."""
    seen: Counter[str] = Counter()
    for writer in writers:
        seen[writer.name] += 1
        yield writer.name if seen[writer.name] == 1 else f"{writer.name}-{seen[writer.name]}", writer
