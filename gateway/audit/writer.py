"""Commits of entries: chained, the last one signed, on disk when the commit returns.

The order of a commit is entries, fsync, head. A kill or a power cut leaves a commit whole, in part, or not at all.
The next commit removes a torn line, and an entry says so.
"""

from __future__ import annotations

import math
import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from drivers.own_files import open_own
from gateway.audit.entry import (
    FIRST,
    OWN,
    RENEWED,
    Action,
    Malformed,
    clean_action,
    line_of,
    parse_line,
    successor_of,
)
from gateway.audit.files import (
    CLOCK,
    MODE,
    Head,
    UnreadableHead,
    file_after,
    locked,
    log_files,
    open_folder,
    read_head,
    sync_folder,
    write_head,
)
from gateway.audit.keys import ENTRY, HEAD, NEXT, PRIVATE, make_next_key, next_key, open_key, promote_next_key
from gateway.common.atomic_file import load_json, save_json
from gateway.common.clock import kernel_clock
from gateway.common.tasks import BestEffort

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.audit.keys import SigningKey
    from gateway.common.clock import KernelClock

log = structlog.get_logger(__name__)

SMALLEST_FILE, LARGEST_FILE = 64 * 2**10, 16 * 2**20
"""Bytes of a file after which another begins."""

RENEWAL_BYTES = 2_000
"""Bytes of an entry about another key, with some room."""

FILES = 16
"""Files that a full log has, about."""


CREATED = "audit-created"
"""The action of the first entry."""


class Full(Exception):
    """The log has its greatest size, and may not remove a file."""


class _Tail(NamedTuple):
    """The end of the newest file: its last right entry, and the bytes behind it."""

    n: int
    hash: str
    signed_n: int
    key: str
    size: int
    torn: bytes
    successor: str = ""
    """The key that has to sign the next entry, if the last entry of its predecessor is the last of the file."""


def _own(action: str, object_: str = "", before: object = None, after: object = None) -> Action:
    return clean_action(time.time_ns() // 1000, action, OWN, "", object_, before, after, "done")


class ChainWriter:
    """Appends to the log of a folder. Blocks; belongs to one thread. Other processes may append to the same log."""

    def __init__(
        self, folder: Path, max_size: int, *, remove_oldest: bool = False, renew_key: float = math.inf
    ) -> None:
        """Prepare; no I/O before the first commit. A key signs for `renew_key` seconds."""
        self.size = 0
        """Bytes of all files."""
        self.max_size = max_size
        self._folder = folder
        self._remove_oldest = remove_oldest
        self._renew_after = renew_key
        self._file_size = max(SMALLEST_FILE, min(LARGEST_FILE, max_size // FILES))
        self._key: SigningKey | None = None
        self._file: Path | None = None
        self._file_bytes = -1
        self._head = Head()
        self._n = 0  # of the last entry, there or lost
        self._head_written = BestEffort("audit head", folder=str(folder))
        self._clock: KernelClock | None = None
        self._clock_written = BestEffort("audit clock", folder=str(folder))

    def commit(self, actions: Sequence[Action]) -> list[dict[str, Any]]:
        """Append actions; returns all new entries, theirs last. They are on disk when this returns.

        Raises `Full`, `UnusableKey`, or `OSError`; nothing is appended then.
        """
        open_folder(self._folder)
        with locked(self._folder):
            files = log_files(self._folder)
            self._end_renewal(files)
            self._key = open_key(self._folder)  # again: another process may have renewed it
            self._clock = kernel_clock()
            first = self._catch_up(files)
            self.size = sum(file.stat().st_size for file in files)
            renewed = [] if first else self._renew_key()
            first += self._clock_changes(first)
            room = sum(len(line_of(action.numbered(1, FIRST))) + 200 for action in (*first, *actions))
            if self._file is None or self._file_bytes + room > self._file_size:
                first = self._next_file(files, first)
            removed = self._make_room(files, room)
            first += [_own("audit-removed", file.name, before=before) for file, before in removed]
            entries = self._append([*first, *actions])
            for file, _ in removed:
                file.unlink()
            self._note_clock()
            self._key = None  # no process remembers a key that another may destroy
            return [*renewed, *entries]

    def _renew_key(self) -> list[dict[str, Any]]:
        """Let another key sign from here on if the present key is old enough; returns the entry that says so.

        The order is the new key, the entry, the destruction of the old key. `_end_renewal` goes on after a kill.
        """
        age = time.time() - (self._folder / PRIVATE).stat().st_mtime
        if age < self._renew_after or self.size + RENEWAL_BYTES > self.max_size:
            return []
        new = make_next_key(self._folder)
        entries = self._append([_own(RENEWED, after={"key": new.id, "public": new.public})])
        promote_next_key(self._folder)
        self._key = new
        return entries

    def _end_renewal(self, files: list[Path]) -> None:
        """End a renewal that was stopped: the successor signs if the log names it, and is removed if it does not."""
        successor = next_key(self._folder)
        if successor is None:
            return
        tails = (_tail_of(_content(file)) for file in reversed(files))
        last = next((tail for tail in tails if tail.n), None)
        if last is not None and last.successor == successor.id:
            promote_next_key(self._folder)
        else:
            (self._folder / NEXT).unlink()

    def _clock_changes(self, first: list[Action]) -> list[Action]:
        """Return an entry if the clock is synchronised now, and was not, or the other way round.

        So the log says of each entry whether its time can be relied on (IEC 62443-4-2, CR 2.11 RE 1). The first entry
        of a log has the first state.
        """
        found = self._clock
        if found is None or self._clock_noted(found) or any(one.action == CREATED for one in first):
            return []
        action = "clock-synchronised" if found.synchronised else "clock-not-synchronised"
        errors = {"maximum": round(found.maximum_error, 6), "estimated": round(found.estimated_error, 6)}
        return [_own(action, after={"error_seconds": errors})]

    def _clock_noted(self, found: KernelClock) -> bool:
        """Return whether the last entry about the clock says the same."""
        try:
            noted = load_json(self._folder / CLOCK)
        except (OSError, ValueError):
            return False
        return isinstance(noted, dict) and noted.get("synchronised") is found.synchronised

    def _note_clock(self) -> None:
        if self._clock is not None and not self._clock_noted(self._clock):
            with self._clock_written:
                save_json(self._folder / CLOCK, {"synchronised": self._clock.synchronised})

    def _catch_up(self, files: list[Path]) -> list[Action]:
        """Find the end of the log, unless it is where this writer left it; returns the entries about its state."""
        newest = files[-1] if files else None
        if newest == self._file and newest is not None and newest.stat().st_size == self._file_bytes:
            return []
        key = self._signing_key
        try:
            head = read_head(self._folder)
        except UnreadableHead:
            head = None
        tail, said = self._find_tail(files)
        newest = files[-1] if files else None
        self._file, self._file_bytes = newest, 0 if tail is None else tail.size
        if tail is None:
            self._head, self._n = Head(), 0
            clock = None if self._clock is None else self._clock.synchronised
            said.append(_own(CREATED, after={"key": key.id, "clock_synchronised": clock}))
        else:
            self._head, self._n = Head(tail.n, tail.hash), tail.n
            if tail.torn or tail.signed_n < tail.n:
                said.append(self._repair(tail))
            if tail.key not in {key.id, ""} and tail.successor != key.id:
                said.append(_own("audit-key-changed", before={"key": tail.key}, after={"key": key.id}))
        if head is not None and head.n > self._n:
            said.append(_own("audit-entries-missing", before={"last": self._n}, after={"expected": head.n}))
            log.error("audit.entries_missing", folder=str(self._folder), last=self._n, expected=head.n)
            self._n = head.n
        return said

    @property
    def _signing_key(self) -> SigningKey:
        assert self._key is not None, "no commit is under way"  # noqa: S101 - for the type checker
        return self._key

    def _find_tail(self, files: list[Path]) -> tuple[_Tail | None, list[Action]]:
        """Return the end of the log, None of an empty log, and the entries about newest files without an entry.

        Such a file is renamed, so that the next file gets its name.
        """
        said: list[Action] = []
        while files:
            tail = _tail_of(_content(files[-1]))
            if tail.n:
                return tail, said
            file = files.pop()
            if not tail.torn:
                file.unlink()
                continue
            file.rename(file.with_suffix(".damaged"))
            log.warning("audit.repaired", file=str(file), removed_bytes=len(tail.torn))
            said.append(_own("audit-repaired", file.name, _removed(tail.torn)))
        return None, said

    def _repair(self, tail: _Tail) -> Action:
        """Remove a torn line, and return the entry that says so, and which entries have no signature of their own."""
        assert self._file is not None, "there is a tail"  # noqa: S101 - for the type checker
        if tail.torn:
            os.truncate(self._file, tail.size)
            log.warning("audit.repaired", file=str(self._file), removed_bytes=len(tail.torn))
        before = _removed(tail.torn) if tail.torn else None
        unsigned = {"unsigned_from": tail.signed_n + 1, "unsigned_to": tail.n} if tail.signed_n < tail.n else None
        return _own("audit-repaired", self._file.name, before, unsigned)

    def _next_file(self, files: list[Path], first: list[Action]) -> list[Action]:
        """Go on in another file; returns the entries that it begins with."""
        old = files[-1].name if files else ""
        self._file, self._file_bytes = file_after(files, self._folder), 0
        files.append(self._file)
        return [_own("audit-continued", self._file.name, before={"file": old}), *first] if old else first

    def _make_room(self, files: list[Path], room: int) -> list[tuple[Path, dict[str, Any]]]:
        """Return the files to remove, each with its last entry. Raises `Full` if the log may not remove them."""
        found: list[tuple[Path, dict[str, Any]]] = []
        for file in files[:-1]:
            if self.size + room <= self.max_size:
                break
            if not self._remove_oldest:
                break
            size = file.stat().st_size
            tail = _tail_of(_content(file))
            found.append((file, {"last": tail.n, "hash": tail.hash}))
            self.size -= size
        if self.size + room > self.max_size:
            self._file_bytes = -1  # the end is looked for again
            raise Full(f"{self._folder}: the audit log has its greatest size of {self.max_size:,} bytes")
        return found

    def _append(self, actions: list[Action]) -> list[dict[str, Any]]:
        """Chain, sign and write actions; restores the file where that fails."""
        key, entries = self._signing_key, []
        n, previous = self._n, self._head.hash
        for number, action in enumerate(actions, 1):
            n += 1
            entry = action.numbered(n, previous, key.id if number == len(actions) else "")
            previous = entry["hash"]
            entries.append(entry)
        entries[-1]["signature"] = key.sign(ENTRY, previous)
        content = b"".join(map(line_of, entries))
        self._write(content)
        self._head, self._n = Head(n, previous, key.id, key.sign(HEAD, previous)), n
        with self._head_written:
            write_head(self._folder, self._head)
        return entries

    def _write(self, content: bytes) -> None:
        assert self._file is not None, "a file was chosen"  # noqa: S101 - for the type checker
        is_new = not self._file.exists()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._file, flags, MODE)
        before = os.fstat(descriptor).st_size
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            self._file_bytes = -1  # the end is looked for again
            os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(self._folder)
        self._file_bytes = before + len(content)
        self.size += len(content)


def _content(file: Path) -> bytes:
    with os.fdopen(open_own(file), "rb") as opened:
        return opened.read()


def _removed(torn: bytes) -> dict[str, Any]:
    return {"removed_bytes": len(torn), "sha256": sha256(torn).hexdigest()}


def _tail_of(content: bytes) -> _Tail:
    """Return the end of a file: the last entry that is right, the last that is signed, and the bytes behind."""
    lines = content.splitlines(keepends=True)
    torn = 0
    last: dict[str, Any] | None = None
    for line in reversed(lines):
        try:
            entry = parse_line(line)
        except Malformed:
            if last is not None:
                break  # changed inside: `verify` finds it
            torn += len(line)
            continue
        last = last or entry
        if "signature" in entry:
            return _tail(last, entry["n"], entry["key"], content, torn)
    if last is None:
        return _Tail(0, FIRST, 0, "", 0, content)
    return _tail(last, 0, "", content, torn)


def _tail(last: dict[str, Any], signed: int, key: str, content: bytes, torn: int) -> _Tail:
    size = len(content) - torn
    return _Tail(last["n"], last["hash"], signed, key, size, content[size:], successor_of(last)[0])
