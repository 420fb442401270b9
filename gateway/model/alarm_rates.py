"""The limits by which the performance of an alarm system is judged, after EEMUA 191 and ISA-18.2 (16.5).

Times are in microseconds.
"""

from __future__ import annotations

WINDOW = 10 * 60 * 1_000_000
"""The time in which annunciations are counted (EEMUA 191, table of alarm rates)."""

ACCEPTABLE, MANAGEABLE, OVER_DEMANDING = 1, 2, 5
"""Annunciations in a window, on average, that an operator can handle, can manage, and can hardly handle."""

FLOOD = 10
"""Annunciations in a window beyond which it is a flood."""

CHATTER_SPAN, CHATTER = 60 * 1_000_000, 3
"""An alarm that is annunciated so often within so long chatters."""

STALE_AFTER = 24 * 3600 * 1_000_000
"""The time after which a standing alarm is stale."""
