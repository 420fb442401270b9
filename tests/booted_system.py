"""A copy of this machine's system that runs a systemd of its own: units are started there as on an edge box.

    with BootedSystem(folder) as system:
        system.run("systemctl", "start", "lineside-gateway@factory")

It has the network of this machine, and processes, mounts, control groups and devices of its own. It needs root, and
ends with its process, however that ends.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from processes import PATIENCE, need
from system_copy import PATH, SystemCopy

if TYPE_CHECKING:
    from types import TracebackType

HIERARCHIES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
"""Where the hierarchy of control groups of version 2 may be."""

BOOT = """
set -e
base=$1
echo $$ >"$2/cgroup.procs"
exec unshare --mount --uts --ipc --cgroup --pid --fork --kill-child --propagation private sh -c '
set -e
base=$1 root=$1/root
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for folder in run tmp dev; do mount -t tmpfs tmpfs "$root/$folder"; done
for device in null zero full random urandom tty ptmx; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
# dpkg would index all manuals at each change
rm -f "$root/var/lib/man-db/auto-update"
# nothing but journald and the units of a test
find "$root/etc/systemd/system" -name "*.wants" -prune -exec rm -r {} +
for unit in udevd sysctl modules-load resolved networkd timesyncd logind; do
  ln -sf /dev/null "$root/etc/systemd/system/systemd-$unit.service"
done
echo "[Unit]" >"$root/etc/systemd/system/test.target"
# a process with another root than its mount namespace must not make user namespaces (PrivateUsers=)
cd "$root"
mkdir before
pivot_root . before
cd /
umount --lazy before
mount --make-rshared /
exec env -i container=docker /lib/systemd/systemd --system --unit=test.target --show-status=0 --log-target=journal
' sh "$base"
"""


class BootedSystem(SystemCopy):
    """A copy of the system with systemd as its first process."""

    def __enter__(self) -> Self:
        hierarchy = next((one for one in HIERARCHIES if (one / "cgroup.procs").exists()), None)
        if hierarchy is None:
            pytest.fail("there is no hierarchy of control groups (version 2): systemd can't run")
        self._group = hierarchy / f"lineside-test-{self._folder.stat().st_ino}"
        self._group.mkdir()
        self._keep(["sh", "-c", BOOT, "sh", str(self._folder), str(self._group)])
        deadline = time.monotonic() + PATIENCE
        while (state := self._state()) not in {"running", "degraded"}:
            assert self._keeper is not None
            if self._keeper.poll() is not None or time.monotonic() > deadline:
                said, _ = self._keeper.communicate(timeout=10)
                pytest.fail(f"systemd does not run ({state}): {said}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._keeper is not None
        self._keeper.kill()
        self._keeper.communicate()
        deadline = time.monotonic() + PATIENCE
        while _has_processes(self._group) and time.monotonic() < deadline:
            time.sleep(0.01)
        for path in sorted(self._group.rglob("*/"), reverse=True):
            path.rmdir()
        self._group.rmdir()

    def _state(self) -> str:
        if self._init() is None:
            return "not started"
        line = self.command("systemctl", "is-system-running")
        return subprocess.run(line, check=False, capture_output=True, text=True).stdout.strip()

    def _init(self) -> int | None:
        """Return the process id of its systemd, None before it is there."""
        assert self._keeper is not None
        children = (
            Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children").read_text(encoding="ascii").split()
        )
        if not children or Path(f"/proc/{children[0]}/comm").read_text(encoding="ascii") != "systemd\n":
            return None
        return int(children[0])

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self._init()}/root")

    def command(self, *words: str, user: str = "root", **environment: str) -> list[str]:
        enter = [need("nsenter"), "-t", str(self._init()), "-m", "-u", "-i", "-C", "-p", "-r", "-w", "--"]
        return [*enter, *self._as(user, environment | {"PATH": PATH}), *words]

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def log(self, unit: str) -> str:
        """Return all lines that a unit has logged."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit)


def _has_processes(group: Path) -> bool:
    return any(file.read_text(encoding="ascii") for file in group.rglob("cgroup.procs"))
