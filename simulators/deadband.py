"""Deadbands of monitored items, as OPC UA has them (OPC 10000-4, clause 7.22.2): against what was told last.

asyncua compares with the value before, so that a quantity which moves in small steps is never told again, however far
it has gone. No machine is like that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.server import internal_subscription
from asyncua.server.monitored_item_service import MonitoredItemService

if TYPE_CHECKING:
    from asyncua.server.monitored_item_service import MonitoredItemValues


class _Service(MonitoredItemService):
    """Remembers of each monitored item what was told last."""

    def _is_deadband_exceeded(self, values: MonitoredItemValues, flt: ua.DataChangeFilter) -> bool:
        told: ua.DataValue | None = getattr(values, "told", None)
        now = values.get_current_datavalue()
        if flt.DeadbandType == ua.DeadbandType.Absolute and now is not None and told is not None:
            size, before = _number(now), _number(told)
            if size is not None and before is not None and abs(size - before) <= flt.DeadbandValue:
                return False
        values.told = now  # type: ignore[attr-defined]
        return True


def _number(data: ua.DataValue) -> float | None:
    """Return a good number; None for anything else, which is always told."""
    value = data.Value.Value if data.Value is not None else None
    good = data.StatusCode is None or data.StatusCode.is_good()
    return float(value) if good and isinstance(value, int | float) else None


def keep_deadbands() -> None:
    """Have the servers of this process keep deadbands."""
    internal_subscription.MonitoredItemService = _Service  # type: ignore[misc]
