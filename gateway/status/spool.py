"""The state of a spool, as reports show it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.codecs import Undecodable, decode
from gateway.common.dead_letters import read_letters
from gateway.model.ledger import Ledger
from gateway.spool.adopt import other_spools
from gateway.spool.limits import Limits

if TYPE_CHECKING:
    from gateway.settings.sections import GatewaySection
    from gateway.spool.files import Row, SpoolFiles
    from gateway.spool.inspect import SpoolStatus


def spool_report(own: GatewaySection, files: SpoolFiles, found: SpoolStatus) -> dict[str, Any]:
    """Return the state of a spool. Sizes are in bytes. Raises `OSError` if its set-aside records can't be read."""
    state = found.state
    limits = Limits(own.spool.max_size)
    on_disk = (files.db, files.wal, files.shm, files.slots, files.reserve)
    return {
        "gateway": own.id,
        "spool": state.spool,
        "file": str(files.db),
        "records": state.records,
        "readings": state.readings,
        "bytes": state.size,
        "oldest": _end(found.oldest),
        "newest": _end(found.newest),
        "max_size": own.spool.max_size,
        "slack": limits.slack,
        "on_disk": sum(file.stat().st_size for file in on_disk if file.exists()),
        "when_full": own.spool.when_full.value,
        "dropped": dict(Ledger.of(state.counts, state.readings).dropped),
        "damage": found.damage,
        "set_aside": {str(files.letters): sum(1 for _ in read_letters(files.letters))},
        "damaged_databases": [str(file) for file in files.all_damaged()],
        "other_gateways": [other._asdict() for other in other_spools(files.folder, own.id)],
    }


def _end(row: Row | None) -> dict[str, Any] | None:
    """Return the number of a record, and the time of its first reading, None if its payload is damaged."""
    if row is None:
        return None
    try:
        times = decode(row.payload).times() if row.is_right else []
    except Undecodable:
        times = []
    return {"seq": row.seq, "time": iso_time(min(times)) if times else None}


def iso_time(micros: int) -> str:
    """Return a time in microseconds since the epoch as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds")
