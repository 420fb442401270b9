"""The verdict of a folder: its encryption policy, its file system, and the devices below it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.storage.block_devices import verdict_of_all, verdict_of_device, verdict_of_name
from gateway.storage.fscrypt import has_policy
from gateway.storage.mounts import MOST_BYTES, mount_of
from gateway.storage.verdict import State, System, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.storage.mounts import Mount

_KINDS = {
    **dict.fromkeys(("tmpfs", "ramfs"), (State.MEMORY, "a file system in memory")),  # `swap.py` looks at its disk
    **dict.fromkeys(
        ("ecryptfs", "gocryptfs", "encfs", "cryfs", "securefs"),
        (State.ENCRYPTED, "a file system that encrypts each file"),
    ),
    **dict.fromkeys(
        ("overlay", "aufs", "fuse-overlayfs", "unionfs"),
        (State.UNKNOWN, "a file system of a container: its host has the disk"),
    ),
    **dict.fromkeys(
        ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "sshfs", "9p", "virtiofs", "afs"),
        (State.UNKNOWN, "its disk is on another machine"),
    ),
}
"""File systems whose type alone decides."""

ZFS_PATIENCE = 5.0
"""Seconds for the answer of the tool of ZFS."""

_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/ -]{0,255}")
"""The name of a dataset; one of another form, such as an option, is not given to a tool."""


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest above it that this user can look into: a service makes the rest in it."""
    return next((one for one in (folder, *folder.parents) if os.access(one, os.R_OK | os.X_OK)), Path("/"))


def verdict_of_folder(folder: Path, stated: Sequence[Path] = (), system: System | None = None) -> Verdict:
    """Return whether files in a folder are encrypted; the folder may not be there yet.

    `stated` are folders of which a person says that the plant encrypts them. Raises nothing: a state that can't be
    determined is `State.UNKNOWN`.
    """
    place, kernel = Path(os.path.realpath(folder)), system or System()
    if has_policy(there := _existing(place)):
        return Verdict(State.ENCRYPTED, str(there), "fscrypt")
    try:
        with Path(kernel.proc, "self", "mountinfo").open(encoding="utf-8", errors="surrogateescape") as opened:
            mount = mount_of(str(place), opened.read(MOST_BYTES))
        no_mount = Verdict(State.UNKNOWN, str(place), "no mount has it")
        found = no_mount if mount is None else _of_mount(mount, kernel.sys)
    except OSError as error:
        found = Verdict(State.UNKNOWN, str(place), f"mounts and devices can't be read: {error.strerror}")
    if not found.protected and any(place.is_relative_to(os.path.realpath(one)) for one in stated):
        return Verdict(State.STATED, found.device, "the configuration says that the plant encrypts it")
    return found


def _of_mount(mount: Mount, sys: str) -> Verdict:
    if (kind := mount.type.removeprefix("fuse.")) in _KINDS:
        state, why = _KINDS[kind]
        return Verdict(state, mount.type, why)
    if mount.type == "zfs":
        return _of_dataset(mount.source)
    if mount.type == "btrfs":
        return _of_btrfs(mount, sys)
    found = verdict_of_device(mount.device, sys)
    if found.state is State.UNKNOWN and found.device == mount.device:
        return Verdict(State.UNKNOWN, mount.type, "it has no block device here")
    return found


def _of_btrfs(mount: Mount, sys: str) -> Verdict:
    """Return the worst verdict of the devices of a btrfs, which has a device number of its own."""
    own = _kernel_name(mount.source, sys)
    for folder in sorted(Path(sys, "fs", "btrfs").glob("*/devices")):
        names = sorted(one.name for one in folder.iterdir())
        if own in names:
            return verdict_of_all([verdict_of_name(name, sys) for name in names], own)
    return verdict_of_name(own, sys)


def _kernel_name(source: str, sys: str) -> str:
    """Return the name of the kernel for the source of a mount: `dm-0` for `/dev/mapper/crypt`."""
    name = Path(os.path.realpath(source)).name
    if Path(sys, "class", "block", name).exists():
        return name
    for file in sorted(Path(sys, "class", "block").glob("dm-*/dm/name")):
        if file.read_text(encoding="utf-8", errors="replace").strip() == name:
            return file.parents[1].name
    return name


def _of_dataset(name: str) -> Verdict:
    """Return whether a dataset of ZFS is encrypted, as its tool says."""
    unknown = Verdict(State.UNKNOWN, f"zfs {name}", "the tool zfs does not answer; run: zfs get encryption DATASET")
    if not _DATASET.fullmatch(name):
        return unknown
    command = ["zfs", "get", "-H", "-o", "value", "encryption", name]
    try:
        # the tool of the box, in its path: a fixed command, and a name that the kernel gives
        done = subprocess.run(command, capture_output=True, timeout=ZFS_PATIENCE, check=False, text=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return unknown
    answer = done.stdout.strip()
    if done.returncode or not answer:
        return unknown
    if answer in {"off", "-"}:
        return Verdict(State.NOT_ENCRYPTED, f"zfs {name}", f"its property encryption is {answer}")
    return Verdict(State.ENCRYPTED, f"zfs {name}", f"ZFS ({answer})")
