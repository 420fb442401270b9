"""The swap space: memory with secrets and readings that the kernel may write to a disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gateway.storage.block_devices import verdict_of_all, verdict_of_name
from gateway.storage.folder import verdict_of_folder
from gateway.storage.verdict import State, System, Verdict

_ESCAPE = re.compile(r"\\([0-7]{3})")


def verdict_of_swap(system: System | None = None) -> Verdict:
    """Return whether memory of this process can reach a disk in the clear.

    A control group with `memory.swap.max` 0, as systemd makes it of `MemorySwapMax=0`, is never swapped. Otherwise
    each swap space of proc_swaps(5) counts. Raises nothing.
    """
    kernel = system or System()
    if _is_never_swapped(kernel):
        return Verdict(State.MEMORY, "swap", "this service is never swapped (memory.swap.max)")
    try:
        lines = Path(kernel.proc, "swaps").read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    except OSError as error:
        return Verdict(State.UNKNOWN, "swap", f"the list of swap spaces can't be read: {error.strerror}")
    spaces = [line.split() for line in lines if line.strip()]
    if not spaces:
        return Verdict(State.MEMORY, "swap", "there is no swap space")
    return verdict_of_all([_of_space(fields, kernel) for fields in spaces], "swap")


def _of_space(fields: list[str], kernel: System) -> Verdict:
    path = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[0])
    if fields[1:2] == ["file"]:
        return verdict_of_folder(Path(path).parent, (), kernel)
    return verdict_of_name(Path(os.path.realpath(path)).name, kernel.sys)


def _is_never_swapped(kernel: System) -> bool:
    """Return whether a control group (version 2) of this process, or one above it, has no swap space."""
    try:
        lines = Path(kernel.proc, "self", "cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return False
    top = Path(kernel.sys, "fs", "cgroup")
    group = Path(os.path.normpath(f"{top}/{own}"))
    while group.is_relative_to(top):
        try:
            if (group / "memory.swap.max").read_text(encoding="ascii").strip() == "0":
                return True
        except (OSError, UnicodeDecodeError):
            pass
        group = group.parent
    return False
