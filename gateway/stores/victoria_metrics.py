"""What VictoriaMetrics says of itself: the flags that it runs with, and when it was started. Pure.

It keeps what it took in memory before it writes it to disk, without `-dedup.minScrapeInterval` it keeps twice what
is written twice, and what is older than its `-retentionPeriod` it drops. All of it stands on its page `/metrics`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DEDUP_NEEDED = 0.001
"""Seconds: its resolution of time, so that what is merged is what was written twice, and no more."""

FLUSH_DEFAULT = 5.0
"""Seconds from memory to disk where there is no `-inmemoryDataFlushInterval`: in releases before 1.85 it is fixed."""

RETENTION_NEEDED = 365 * 86400.0
"""Seconds: a year. Of what is older than its retention it says that it took it, and does not."""

RETENTION_DEFAULT = "1"
"""Of releases that do not show the flag."""

MONTH = 31 * 86400.0
"""What VictoriaMetrics takes for a month, the unit of a retention that is a mere number."""

FLUSH_MARGIN = 5.0
"""Seconds for writing out, beyond what the interval explains."""

YOUNG = 3
"""Seconds: its start is told in whole ones, on a page that may be one old; until then another run looks the same."""

_FLAG = re.compile(r'^flag\{name="(?P<name>[^"]+)", value="(?P<value>[^"]*)"', re.MULTILINE)
_STARTED = re.compile(r"^process_start_time_seconds (\S+)", re.MULTILINE)
_UPTIME = re.compile(r"^vm_app_uptime_seconds (\d+)", re.MULTILINE)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|M|s|d|w|y)")
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800,
    "M": MONTH, "y": 365 * 86400,
}  # fmt: skip


class Running(NamedTuple):
    """One run of the server: when it was `started`, in its words, its flags, and whether it is still `young`."""

    started: str
    flags: dict[str, str]
    young: bool

    @property
    def durable_after(self) -> float:
        """Seconds after an answer in which a kill loses what was taken.

        A part in memory is looked at once an interval, and written when it is an interval old: twice the interval.
        Seen with 1.79.5 and its 5 s: what was lost was up to 10.0 s old.
        """
        return 2 * self._seconds("inmemoryDataFlushInterval", FLUSH_DEFAULT) + FLUSH_MARGIN

    def wrong(self) -> str:
        """Return what has to be changed, empty where it runs as it should."""
        interval = self._seconds("dedup.minScrapeInterval", 0.0)
        if interval == DEDUP_NEEDED:
            return ""
        needed = "start it with -dedup.minScrapeInterval=1ms"
        if not interval:
            return f"it stores twice what is written twice; {needed}"
        return f"it keeps one reading of each {interval:g} s and drops the others; {needed}"

    @property
    def short_retention(self) -> str:
        """What to tell where readings are dropped before they are a year old; empty where it keeps them longer."""
        written = self.flags.get("retentionPeriod") or RETENTION_DEFAULT
        months = re.fullmatch(r"\d+(?:\.\d+)?", written)
        kept = float(written) * MONTH if months else self._seconds("retentionPeriod", 0.0)
        if kept >= RETENTION_NEEDED:
            return ""
        return f"it drops readings older than {kept / 86400:g} days without a word; start it with -retentionPeriod=5y"

    def _seconds(self, flag: str, default: float) -> float:
        written = self.flags.get(flag)
        if not written:
            return default
        return sum(float(number) * _SECONDS.get(unit, 0.0) for number, unit in _PART.findall(written))


def read_metrics(page: str) -> Running | None:
    """Return what the page `/metrics` says; None where it is not that of a VictoriaMetrics that stores."""
    started = _STARTED.search(page)
    flags = {match["name"]: match["value"] for match in _FLAG.finditer(page)}
    if started is None or "dedup.minScrapeInterval" not in flags:
        return None
    uptime = _UPTIME.search(page)
    return Running(started[1], flags, young=uptime is not None and int(uptime[1]) < YOUNG)
