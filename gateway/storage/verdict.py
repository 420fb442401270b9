"""The verdict of a folder: whether a person who takes the disk away can read the files."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Whether storage is encrypted."""

    ENCRYPTED = "encrypted"
    STATED = "stated"  # the configuration says that the plant encrypts it, where Lineside can't see that
    MEMORY = "memory"  # it is gone when the box has no power
    NOT_ENCRYPTED = "not_encrypted"
    UNKNOWN = "unknown"


PROTECTED = frozenset({State.ENCRYPTED, State.STATED, State.MEMORY})
"""States in which a stolen disk shows nothing."""


class Verdict(NamedTuple):
    """The state of storage. `device` is the storage, such as `dm-0` or `nfs`, `why` the fact that decides."""

    state: State
    device: str
    why: str

    @property
    def protected(self) -> bool:
        """Whether a stolen disk shows nothing of it."""
        return self.state in PROTECTED


class System(NamedTuple):
    """The texts of the kernel: `proc` is the folder of proc(5), `sys` that of sysfs(5)."""

    proc: str = "/proc"
    sys: str = "/sys"
