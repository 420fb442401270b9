"""A copy of this machine's system in which packages are installed and removed: what happens there stays there.

    with SystemCopy() as system:
        system.run("dpkg", "--install", str(file))
        assert (system.root / "usr/bin/lineside").exists() ...

An overlay over `/` in a mount namespace of its own, with all changes in memory. It needs root, and ends with its
process, however that ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from processes import need

if TYPE_CHECKING:
    from types import TracebackType

MAKE = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
# dpkg would index all manuals at each change
rm -f "$1/root/var/lib/man-db/auto-update"
echo made
exec cat
"""
"""Makes the copy, and keeps its namespace until standard input ends."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class SystemCopy:
    """A copy of the system; `root` is its root, as this process sees it while the copy exists."""

    def __init__(self, folder: Path) -> None:
        """Name an empty folder for the mounts."""
        self._folder = folder
        self._keeper: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        keeper = self._keep(
            [need("unshare"), "--mount", "--propagation", "private", "sh", "-c", MAKE, "sh", str(self._folder)]
        )
        assert keeper.stdout is not None
        said = keeper.stdout.readline()
        assert said == "made\n", said + keeper.stdout.read()
        return self

    def _keep(self, line: list[str]) -> subprocess.Popen[str]:
        """Start the process that keeps the namespaces; they end with it, and it with this process."""
        if os.geteuid() != 0:
            pytest.skip("a copy of the system needs root")
        if setpriv := shutil.which("setpriv"):
            line = [setpriv, "--pdeathsig", "KILL", "--", *line]
        self._keeper = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self._keeper

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._keeper is not None
        self._keeper.communicate()  # its standard input ends

    @property
    def root(self) -> Path:
        """The root of the copy, through the process that keeps it."""
        assert self._keeper is not None
        return Path(f"/proc/{self._keeper.pid}/root") / self._folder.relative_to("/") / "root"

    def compile_no_packages(self) -> None:
        """Let Debian packages compile no file from now on, which takes most of the time of their installation."""
        for file in (self.root / "usr/lib").glob("python3.*/compileall.py"):
            before = file.read_text(encoding="utf-8")
            file.write_text(f"if __name__ == '__main__':\n    raise SystemExit\n{before}", encoding="utf-8")

    def command(self, *words: str, user: str = "root", **environment: str) -> list[str]:
        """Return the command line that runs a command in the copy, as a user, with these variables and no others."""
        assert self._keeper is not None
        enter = [need("nsenter"), f"--mount=/proc/{self._keeper.pid}/ns/mnt", "--", "chroot", f"{self._folder}/root"]
        return [*enter, *self._as(user, environment), *words]

    @staticmethod
    def _as(user: str, environment: dict[str, str]) -> list[str]:
        """Return the words in front of a command that is run as a user with these variables."""
        variables = [f"{key}={value}" for key, value in ({"PATH": PATH, "LANG": "C.UTF-8"} | environment).items()]
        as_user = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        return [*as_user, "env", "-i", *variables]

    def run(self, *words: str, code: int = 0, user: str = "root", **environment: str) -> str:
        """Run a command in the copy; return its output. The test fails if it exits with another code."""
        ran = subprocess.run(
            self.command(*words, user=user, **environment),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ran.returncode == code, f"{' '.join(words)}: {ran.returncode}\n{ran.stdout}"
        return ran.stdout
