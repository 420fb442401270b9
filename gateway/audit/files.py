"""The files of an audit log: `audit-000001.jsonl` and so on, the head, and the lock.

The head names the last entry, and is signed: a log that ends before it was cut. Several processes write to one log,
one after the other, under the lock.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import orjson

from drivers.own_files import open_own
from gateway.audit.entry import FIRST
from gateway.common.atomic_file import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD, LOCK, CLOCK = "audit-head.json", "audit.lock", "audit-clock.json"

MODE = 0o600

_NAME = re.compile(r"audit-(\d{6,9})\.jsonl")


class Head(NamedTuple):
    """The last entry of a log, with the signature of its hash as that of the last."""

    n: int = 0
    hash: str = FIRST
    key: str = ""
    signature: str = ""


class UnreadableHead(ValueError):
    """The head is damaged."""


def log_files(folder: Path) -> list[Path]:
    """Return the files of a log, oldest first; none of a folder that does not exist. Raises `OSError`."""
    if not folder.exists():
        return []
    found = [(int(match[1]), file) for file in folder.iterdir() if (match := _NAME.fullmatch(file.name))]
    return [file for _, file in sorted(found)]


def file_after(files: list[Path], folder: Path) -> Path:
    """Return the name of the next file."""
    match = _NAME.fullmatch(files[-1].name) if files else None
    return folder / f"audit-{(int(match[1]) if match else 0) + 1:06}.jsonl"


def read_head(folder: Path) -> Head | None:
    """Return the head, None if there is none. Raises `UnreadableHead` or `OSError`."""
    try:
        with os.fdopen(open_own(folder / HEAD), "rb") as opened:
            data = orjson.loads(opened.read(10_000))
        head = Head(**data)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise UnreadableHead(f"{folder / HEAD}: is damaged") from None
    if type(head.n) is not int or not all(isinstance(text, str) for text in head[1:]):
        raise UnreadableHead(f"{folder / HEAD}: is damaged")
    return head


def write_head(folder: Path, head: Head) -> None:
    """Replace the head; it is on disk when this returns. Raises `OSError`."""
    replace_file(folder / HEAD, [orjson.dumps(head._asdict())])


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a log, alone or with other readers. Raises `OSError`."""
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    descriptor = os.open(folder / LOCK, flags | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_folder(folder: Path) -> None:
    """Make the folder of a log, for its owner alone. Raises `OSError`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names of new files durable. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
