"""Facts about this box: its system, memory, disks and clock."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import time
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.common.clock import synchronised
from gateway.settings.encrypted_storage import storage_of
from gateway.storage.swap import verdict_of_swap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings.factory import Factory

LIBRARIES = (
    "aiomqtt", "amqtt", "asyncua", "click", "cryptography", "influxdb-client", "orjson", "paho-mqtt", "pydantic",
    "pydantic-core", "pymodbus", "pyserial", "pyyaml", "structlog", "zstandard",
)  # fmt: skip
"""Libraries that are named first in a list of versions."""


def disk_report(folder: Path) -> dict[str, Any] | None:
    """Return the sizes in bytes of the file system that a folder is on, or will be; None if that can't be found."""
    for place in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError):
            usage = shutil.disk_usage(place)
            return {"folder": str(place), "size": usage.total, "free": usage.free}
    return None


def storage_report(factory: Factory) -> list[dict[str, Any]]:
    """Return whether each folder of the services, and the swap space, is encrypted, with the device that decides."""
    found = [(one.folder.name, str(one.folder.path.absolute()), one.verdict) for one in storage_of(factory)]
    return [
        {"folder": name, "path": path, "state": one.state.value, "device": one.device, "why": one.why}
        for name, path, one in [*found, ("swap", None, verdict_of_swap())]
    ]


def memory_report() -> dict[str, int]:
    """Return the memory of the box in bytes, `total` and `available`, as proc(5) has it; empty if it has none."""
    found = {}
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            name, _, rest = line.partition(":")
            if name in {"MemTotal", "MemAvailable"}:
                found[name.removeprefix("Mem").lower()] = int(rest.split()[0]) * 1024
    return found


def clock_report() -> dict[str, Any]:
    """Return the wall clock, whether the kernel calls it synchronised, and the seconds since the boot."""
    return {
        "time": time.time_ns() // 1000,
        "synchronised": synchronised(),
        "uptime_seconds": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "timezone": time.strftime("%Z"),
    }


def system_report() -> dict[str, Any]:
    """Return the host name, the system, its load, and the versions of Python and Lineside."""
    release, kernel = {}, os.uname()
    with suppress(OSError):
        release = platform.freedesktop_os_release()
    return {
        "host": socket.gethostname(),
        "system": f"{kernel.sysname} {kernel.release} {kernel.version}",
        "distribution": release.get("PRETTY_NAME", ""),
        "machine": kernel.machine,
        "processors": os.cpu_count(),
        "load": [round(one, 2) for one in os.getloadavg()],
        "python": sys.version,
        "lineside": __version__,
        "installed_in": str(Path(__file__).parents[2]),
    }


def library_versions() -> dict[str, str]:
    """Return the versions of all installed distributions, those that Lineside uses first."""
    found = {name: one.version for one in distributions() if (name := one.metadata["Name"])}
    lower = {name.lower(): name for name in found}
    first = [lower[name] for name in LIBRARIES if name in lower]
    return {name: found[name] for name in _unique((*first, *sorted(found, key=str.lower)))}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
