"""What a device holds of each point, as it holds it: for who looks at a machine before its values are trusted.

Only `lineside check` samples. A driver that reads for the gateway has nothing of this, and pays nothing for it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.base import Driver
from drivers.quality import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Group, Scan

Others = Callable[[], Mapping[str, Value]]
"""Returns the values that the same content has in other orders, by what to write for each: `order: CDAB`."""


@dataclass(frozen=True, slots=True)
class Held:
    """What stands behind one reading.

    `where`   the point's place on its device, as in `holding 4..5`
    `raw`     what the device holds there, as text: registers in hexadecimal digits, say; empty where it gave nothing
    `others`  what else that could be; worked out only where somebody asks
    """

    where: str = ""
    raw: str = ""
    others: Others = dict


@dataclass(frozen=True, slots=True)
class Sample:
    """A scan of a whole group, and what the device holds of each of its points, in the group's order."""

    scan: Scan
    held: Sequence[Held]


class Sampler(Driver):
    """A driver that also tells what stands behind its readings. It asks for what is pushed, too, and only reads."""

    @abstractmethod
    async def sample(self, group: Group) -> Sample:
        """Ask the device once for all points of a group, polled or pushed.

        Of events there is no reading: those that can't be subscribed to have their fault, all others nothing. Raises
        `NotConnected` or `ReadFailed`. One at a time.
        """
