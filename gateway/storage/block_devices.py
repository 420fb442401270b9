"""The chain of block devices below a file system, from sysfs: a partition, LVM, RAID, and dm-crypt anywhere between.

`/sys/dev/block/MAJ:MIN` is a link to the folder of a device. `slaves/` there has the devices that it is made of,
`dm/uuid` is set by who made a device of the device mapper: `CRYPT-LUKS2-...` by cryptsetup (its `dm_prepare_uuid`),
`LVM-...` by LVM. A partition has no `slaves/`, and is a folder in that of its disk.
"""

from __future__ import annotations

from pathlib import Path

from gateway.storage.verdict import State, Verdict

DEEPEST = 16
"""Devices on top of each other; more are not a chain that a person has made."""

CIPHERS = ("LUKS1", "LUKS2", "PLAIN", "LOOPAES", "TCRYPT", "BITLK", "FVAULT2")
"""Kinds of cryptsetup that encrypt. Its kinds VERITY and INTEGRITY have no secret."""

_REMOTE = ("nbd", "rbd", "drbd")
"""Begins of the names of devices whose storage is on another machine."""


def verdict_of_device(number: str, sys: str = "/sys", deep: int = 0) -> Verdict:
    """Return whether the device with a number, such as `8:1`, is encrypted, itself or in each device below it."""
    folder = Path(sys) / "dev" / "block" / number
    if not folder.exists():
        return Verdict(State.UNKNOWN, number, "the kernel shows no block device with this number")
    return _of_folder(folder.resolve(), sys, deep)


def verdict_of_name(name: str, sys: str = "/sys") -> Verdict:
    """Return whether a device with a name of the kernel, such as `dm-1`, is encrypted."""
    number = _read(Path(sys) / "class" / "block" / name / "dev")
    if not number:
        return Verdict(State.UNKNOWN, name, "the kernel shows no block device with this name")
    return verdict_of_device(number, sys)


def verdict_of_all(verdicts: list[Verdict], device: str) -> Verdict:
    """Return the verdict of a device that is spread over others: as good as the worst of them."""
    worst = (State.NOT_ENCRYPTED, State.UNKNOWN, State.MEMORY, State.STATED, State.ENCRYPTED)
    if not verdicts:
        return Verdict(State.UNKNOWN, device, "the kernel shows no device below it")
    return min(verdicts, key=lambda one: worst.index(one.state))


def _of_folder(folder: Path, sys: str, deep: int) -> Verdict:
    name = folder.name
    if deep > DEEPEST:
        return Verdict(State.UNKNOWN, name, f"more than {DEEPEST} devices are on top of each other")
    uuid = _read(folder / "dm" / "uuid")
    kind = uuid.removeprefix("CRYPT-").partition("-")[0] if uuid.startswith("CRYPT-") else ""
    if kind in CIPHERS:
        return Verdict(State.ENCRYPTED, name, f"dm-crypt ({kind})")
    if below := [verdict_of_device(number, sys, deep + 1) for number in _below(folder)]:
        return verdict_of_all(below, name)
    return _of_folder(folder.parent, sys, deep + 1) if (folder / "partition").exists() else _of_disk(folder)


def _of_disk(folder: Path) -> Verdict:
    """Return the verdict of a device that is made of no other."""
    name = folder.name
    if name.startswith("zram"):
        return _of_zram(folder)
    if name.startswith(_REMOTE):
        return Verdict(State.UNKNOWN, name, "its storage is on another machine")
    if (folder / "loop").is_dir():
        return Verdict(State.UNKNOWN, name, f"it is the file {_read(folder / 'loop' / 'backing_file')}")
    return Verdict(State.NOT_ENCRYPTED, name, "no device of the chain is dm-crypt")


def _of_zram(folder: Path) -> Verdict:
    written = _read(folder / "backing_dev")
    if written in {"", "none"}:
        return Verdict(State.MEMORY, folder.name, "compressed memory")
    return Verdict(State.UNKNOWN, folder.name, f"compressed memory that is written to {written}")


def _below(folder: Path) -> list[str]:
    """Return the numbers of the devices that a device is made of."""
    try:
        return [_read(one / "dev") for one in sorted((folder / "slaves").iterdir())]
    except OSError:
        return []


def _read(file: Path) -> str:
    """Return the text of a file of sysfs, empty without it."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip("\n\0 ")
    except OSError:
        return ""
