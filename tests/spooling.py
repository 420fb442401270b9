"""What tests of the spool share: to take records out as a publisher does, whatever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.spool.files import Spooled
    from gateway.spool.spool import Spool


async def lease(spool: Spool, most: int) -> list[Spooled]:
    """Return records to send, fresh ones first, then the oldest of the backlog."""
    leased = spool.lease_fresh(most)
    return leased + (await spool.lease_backlog(most - len(leased)) if len(leased) < most else [])
