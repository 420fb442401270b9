"""JSON files that are replaced as a whole: a power cut leaves the old file, or the new file."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from drivers.own_files import open_own, read_own
from gateway.common.tasks import BestEffort

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = structlog.get_logger(__name__)

MOST_BYTES = 2**30
"""Bytes of a file that is read back."""


def save_json(file: Path, data: dict[str, Any], *, durable: bool = True) -> None:
    """Replace a file by data, as a whole. Blocks until it is on disk, if `durable`. Raises `OSError`."""
    replace_file(file, [orjson.dumps(data)], durable=durable)


def replace_file(file: Path, pieces: Iterable[bytes], *, durable: bool = True) -> None:
    """Replace a file by pieces of its new content. Blocks until they are on disk. Raises `OSError`.

    Without `durable` it does not wait for the disk, and a power cut may leave an empty file. A link, or a file of
    another user, is replaced and not written through.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    try:
        new.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):  # somebody has put a folder there
        new = file.with_name(f"{file.name}.{secrets.token_hex(4)}.new")
    with os.fdopen(open_own(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as opened:
        opened.writelines(pieces)
        opened.flush()
        if durable:
            os.fsync(opened.fileno())
    new.replace(file)


def load_json(file: Path) -> Any:  # noqa: ANN401 - what stands in a file
    """Return the parsed content of a JSON file of ours. Raises `OSError`, also `ForeignFile`, or `ValueError`."""
    return orjson.loads(read_own(file, MOST_BYTES))


class JsonEntries:
    """A JSON object in a file, whose entries change one by one.

    Each entry is encoded once, when it changes; saving puts them together and writes them, in a thread. A file that
    can't be read or written is logged once and never raises.
    """

    def __init__(self, file: Path) -> None:
        """Prepare; no I/O before `load`."""
        self._file = file
        self._entries: dict[str, bytes] = {}
        self._changed = False
        self._lock = asyncio.Lock()
        self._under_way: asyncio.Future[None] | None = None
        """The last write, which goes on in its thread where its save was cancelled."""
        self._writing = BestEffort("save", file=str(file))

    def load(self) -> dict[str, Any]:
        """Return the entries that the file has; none of a file that is missing or damaged."""
        try:
            data = load_json(self._file)
            if not isinstance(data, dict):
                raise TypeError(f"a {type(data).__name__} where an object belongs")  # noqa: TRY301 - handled alike
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            self.unreadable(error)
            return {}
        self._entries = {key: orjson.dumps(value) for key, value in data.items()}
        return data

    def unreadable(self, error: Exception) -> None:
        """Log that the file, or an entry of it, can't be used."""
        log.warning("file.unreadable", file=str(self._file), error=repr(error))

    def set(self, key: str, encoded: bytes) -> None:
        """Change an entry, given as JSON."""
        if self._entries.get(key) != encoded:
            self._entries[key] = encoded
            self._changed = True

    def remove(self, key: str) -> None:
        """Remove an entry, if it is there."""
        if self._entries.pop(key, None) is not None:
            self._changed = True

    async def save(self) -> bool:
        """Write the file where entries have changed; returns whether all of them are on disk."""
        async with self._lock:
            if self._under_way is not None and not self._under_way.done():  # both would write to the same new file
                await asyncio.wait([self._under_way])
            if not self._changed:
                return True
            self._changed, entries = False, list(self._entries.items())
            with self._writing:
                try:
                    loop = asyncio.get_running_loop()
                    self._under_way = loop.run_in_executor(None, replace_file, self._file, _pieces(entries))
                    await asyncio.shield(self._under_way)
                except asyncio.CancelledError:
                    self._changed = True
                    raise
                return True
            self._changed = True
            return False


def _pieces(entries: Iterable[tuple[str, bytes]]) -> Iterable[bytes]:
    before = b"{"
    for key, encoded in entries:
        yield before + orjson.dumps(key) + b":" + encoded
        before = b","
    yield b"{}" if before == b"{" else b"}"
