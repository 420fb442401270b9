"""Growing delays after failed attempts to sign in, by name and by address (IEC 62443-4-2, CR 1.11).

Tables are bounded: the entry that was quiet for longest makes room. Somebody who floods the table of names is slowed
down by address.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

LONGEST = 900.0
"""Seconds of the longest delay; each failure doubles it."""

MOST = 10_000
"""Names, and addresses, that are remembered."""

_SUBSCRIBER = 64
"""Bits of an IPv6 address that a subscriber has."""


MOST_SOURCES = 20
"""Addresses that are remembered of a name."""


class _Failures:
    """The failures of a name or an address; those of a name with their numbers by address."""

    __slots__ = ("count", "last", "sources")

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0
        self.sources: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Lockout:
    """When delays begin, and how long they are."""

    failures: int = 5
    """The number of failures that begins the delays."""
    delay: float = 1.0
    """Seconds of the first delay."""
    period: float = 3600.0
    """Seconds without a failure after which earlier failures are forgotten, at least `LONGEST`."""


class FailureTable:
    """Failures by a key, and how long a key has to wait. Times are monotonic, in seconds."""

    def __init__(self, lockout: Lockout, most: int = MOST) -> None:
        self._lockout = lockout
        self._most = most
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until the next attempt is allowed, 0 if it is."""
        found = self._failures.get(key)
        if found is None or found.count < self._lockout.failures:
            return 0.0
        if now - found.last >= self._lockout.period:
            del self._failures[key]
            return 0.0
        delay = min(LONGEST, self._lockout.delay * 2.0 ** min(found.count - self._lockout.failures, 20))
        return max(0.0, found.last + delay - now)

    def count(self, key: str, now: float) -> int:
        """Return the number of failures of a key that are not forgotten."""
        found = self._failures.get(key)
        return 0 if found is None or now - found.last >= self._lockout.period else found.count

    def sources(self, key: str) -> dict[str, int]:
        """Return where the failures of a key came from, with their numbers."""
        found = self._failures.get(key)
        return {} if found is None else dict(found.sources)

    def add(self, key: str, now: float, source: str = "") -> int:
        """Count a failure, and return how many there are."""
        found = self._failures.setdefault(key, _Failures())
        if found.count and now - found.last >= self._lockout.period:
            found.count = 0
            found.sources.clear()
        found.count += 1
        found.last = now
        if source and (source in found.sources or len(found.sources) < MOST_SOURCES):
            found.sources[source] = found.sources.get(source, 0) + 1
        self._failures.move_to_end(key)
        while len(self._failures) > self._most:
            self._failures.popitem(last=False)
        return found.count

    def take_back(self, key: str, number: int = 1, source: str = "") -> None:
        """Remove failures of a key: the attempts have succeeded, or count no longer."""
        if (found := self._failures.get(key)) is not None:
            found.count -= number
            if source in found.sources:
                found.sources[source] -= number
            if found.count <= 0:
                del self._failures[key]

    def forget(self, key: str) -> None:
        """Remove all failures of a key."""
        self._failures.pop(key, None)


def address_key(address: str) -> str:
    """Return the key of a client: its IPv4 address, the network of its subscriber for IPv6, else the text."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, _SUBSCRIBER), strict=False))
    return str(parsed)
