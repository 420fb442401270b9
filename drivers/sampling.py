"""Readings with the raw values behind them, to check the configuration of a machine.

Only `lineside check` samples. A driver that reads for the gateway keeps no raw values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.quality import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.scan import Scan

Others = Callable[[], Mapping[str, Value]]
"""Returns the values of the same bytes in other byte orders, by the key that selects each: `order: CDAB`."""


@dataclass(frozen=True, slots=True)
class RawValue:
    """The raw value behind one reading.

    `where`   the point's address on its device, as in `holding 4..5`
    `raw`     the raw value as text, such as registers in hexadecimal digits; empty if there is none
    `others`  the values in other byte orders; computed only if a reading is suspect
    """

    where: str = ""
    raw: str = ""
    others: Others = dict


@dataclass(frozen=True, slots=True)
class Sample:
    """A scan of a whole group, with the raw value behind each of its points, in the group's order."""

    scan: Scan
    held: Sequence[RawValue]
