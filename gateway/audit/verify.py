"""The check of a whole audit log: every entry, the chain, the signatures, and that nothing is missing at its ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.audit.entry import FIRST, LONGEST_LINE, Malformed, parse_line, successor_of
from gateway.audit.files import HEAD as HEAD_FILE
from gateway.audit.files import LOCK, Head, UnreadableHead, locked, log_files, read_head
from gateway.audit.keys import ENTRY, HEAD, is_signed, public_keys
from gateway.common.public_keys import key_id, public_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Broken(NamedTuple):
    """The first entry that is not right: its file, line and number (0 where it has none), and why."""

    file: str
    line: int
    n: int
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        return place + (f"entry {self.n}: " if self.n else "") + self.reason


class Verified(NamedTuple):
    """The result for a log. `keys` are the ids of the keys that have signed it."""

    entries: int
    first: int
    last: int
    files: int
    keys: tuple[str, ...]
    broken: Broken | None


class _Wrong(Exception):
    """The log is not right; carries the `Broken`."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(str(broken))
        self.broken = broken


def read_lines(file: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their line feeds; a longer line comes in pieces. Raises `OSError`."""
    with file.open("rb") as opened:
        while line := opened.readline(LONGEST_LINE):
            yield line


def verify(folder: Path, keys: tuple[str, ...] = (), look: Callable[[int], None] | None = None) -> Verified:
    """Check the log of a folder; `keys` are the only ids to trust, all in the folder without any.

    A key that is trusted names its successor, and signs nothing any more then.

    `look` is called with the number of entries that are checked, now and then. Raises `OSError` or `UnusableKey`.
    """
    if not (folder / LOCK).exists():
        return _verify(folder, keys, look)
    with locked(folder, shared=True):
        return _verify(folder, keys, look)


def _verify(folder: Path, keys: tuple[str, ...], look: Callable[[int], None] | None) -> Verified:
    known = {name: key for name, key in public_keys(folder).items() if not keys or name in keys}
    files = log_files(folder)
    check = _Check(known, look)
    try:
        for file in files:
            check.file(file)
        check.ends(folder, files)
    except _Wrong as error:
        return check.result(len(files), error.broken)
    return check.result(len(files), None)


class _Check:
    """Follows the chain through the files."""

    def __init__(self, keys: dict[str, Ed25519PublicKey], look: Callable[[int], None] | None) -> None:
        self._keys = keys
        self._look = look
        self._used: dict[str, None] = {}
        self._entries = 0
        self._first: dict[str, Any] | None = None
        self._last: dict[str, Any] = {"n": 0, "hash": FIRST}
        self._signed = 0
        self._removed: set[tuple[int, str]] = set()
        self._retired: dict[str, int] = {}  # keys that have named a successor, with the entry
        self._place = ("", 0)

    def file(self, file: Path) -> None:
        """Check a file that goes on where the last one ended."""
        for number, line in enumerate(read_lines(file), 1):
            self._place = (file.name, number)
            try:
                entry = parse_line(line)
            except Malformed as error:
                reason = str(error) if line.endswith(b"\n") else "the line is cut off, as by a power cut"
                raise _Wrong(Broken(file.name, number, self._last["n"] + 1, reason)) from None
            self._entry(entry)
            if self._look is not None and self._entries % 1000 == 0:
                self._look(self._entries)

    def _entry(self, entry: dict[str, Any]) -> None:
        n, last = entry["n"], self._last["n"]
        if self._first is None:
            self._first = entry
        elif n != last + 1:
            found = "is out of order" if n <= last else "is missing"
            self._wrong(n if n <= last else last + 1, f"{found}: {n} follows {last}")
        elif entry["previous"] != self._last["hash"]:
            self._wrong(n, "does not continue the chain: an entry before it was changed, removed or added")
        if "signature" in entry:
            key = self._keys.get(entry["key"])
            if key is None:
                self._wrong(n, f"is signed with the key {entry['key'][:64]}, which is not trusted here")
            elif not is_signed(key, ENTRY, entry["hash"], entry["signature"]):
                self._wrong(n, "the signature is wrong")
            elif (retired := self._retired.get(entry["key"])) is not None:
                self._wrong(n, f"is signed with the key {entry['key']}, which was destroyed after entry {retired}")
            self._signed = n
            self._used[entry["key"]] = None
            self._succeed(entry)
        if entry["action"] == "audit-removed" and isinstance(entry["before"], dict):
            self._removed.add((entry["before"].get("last", 0), str(entry["before"].get("hash"))))
        self._last = entry
        self._entries += 1

    def _succeed(self, entry: dict[str, Any]) -> None:
        """Trust the successor that a key names with its last signature."""
        name, public = successor_of(entry)
        if not name:
            return
        try:
            key = public_key(public)
        except ValueError as error:
            self._wrong(entry["n"], f"names another key, which can't be used: {error}")
        else:
            if key_id(key) != name:
                self._wrong(entry["n"], "names another key by a wrong id")
            self._keys[name] = key
            self._retired[entry["key"]] = entry["n"]

    def _wrong(self, n: int, reason: str) -> None:
        raise _Wrong(Broken(*self._place, n, reason))

    def ends(self, folder: Path, files: list[Path]) -> None:
        """Check the begin and the end of the log."""
        try:
            head = read_head(folder)
        except UnreadableHead as error:
            raise _Wrong(Broken(HEAD_FILE, 0, 0, str(error))) from None
        if self._first is None:
            if head is not None or files:
                raise _Wrong(Broken(HEAD_FILE, 0, 1, "all entries are missing"))
            return
        n, previous = self._first["n"], self._first["previous"]
        if (n, previous) != (1, FIRST) and (n - 1, previous) not in self._removed:
            raise _Wrong(Broken(files[0].name, 1, max(1, n - 1), "is missing, and no entry says that it was removed"))
        if self._signed < self._last["n"]:
            reason = "has no signature: the last write was cut off, which the next entry will say, or it was added"
            self._wrong(self._signed + 1, reason)
        self._head(head)

    def _head(self, head: Head | None) -> None:
        last = self._last["n"]
        if head is None:
            raise _Wrong(Broken(HEAD_FILE, 0, 0, "is missing, so entries at the end may be missing as well"))
        if head.n > last:
            raise _Wrong(Broken(HEAD_FILE, 0, last + 1, f"is missing: the log has {head.n} entries"))
        key = self._keys.get(head.key)
        if key is None or not is_signed(key, HEAD, head.hash, head.signature):
            raise _Wrong(Broken(HEAD_FILE, 0, head.n, "the signature of the head is wrong"))
        if (retired := self._retired.get(head.key)) is not None and head.n != retired:
            reason = f"the head is signed with the key {head.key}, which was destroyed after entry {retired}"
            raise _Wrong(Broken(HEAD_FILE, 0, head.n, reason))

    def result(self, files: int, broken: Broken | None) -> Verified:
        """Return the findings so far."""
        first = 0 if self._first is None else self._first["n"]
        return Verified(self._entries, first, self._last["n"], files, tuple(self._used), broken)
