"""The form of an archive: a tar file of regular files, compressed with gzip; the manifest is its first member.

Any tar program reads it. It is read here in bounded pieces, block by block: whatever follows a block's header but the
bytes of a regular file (links, devices, folders, long names, extended headers) is refused before anything is done.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from hashlib import sha256
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE

PIECE = 2**20
"""Bytes that are read, hashed and written at once."""

COMPRESSION = 1
"""The level of gzip: records are small on any level, and an edge box has other work."""

LARGEST_OF_USTAR = 8 * 2**30
"""Bytes from which on the size of a member needs the form of GNU tar."""

_KINDS = {
    tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a symbolic link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.DIRTYPE: "a folder", tarfile.FIFOTYPE: "a pipe",
}  # fmt: skip


class BadArchive(Exception):
    """An archive can't be used; the text says why. Nothing was changed."""


class ArchiveWriter:
    """Writes members into an open file, one after the other."""

    def __init__(self, file: BinaryIO, time: int) -> None:
        """Prepare; each member has this `time`, in seconds since the epoch."""
        self._zipped = gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=file, mtime=time)
        self._time = time

    def add(self, name: str, size: int, content: IO[bytes]) -> None:
        """Add a member of this size. Raises `OSError`, or `BadArchive` for a name that is too long."""
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = size, self._time, 0o600
        try:
            if size < LARGEST_OF_USTAR:
                head = entry.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
            else:
                head = entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")
        except (ValueError, UnicodeError):
            raise BadArchive(
                f"the name {name[:200]!r} is too long for an archive: at most 100 bytes a level"
            ) from None
        if len(head) != BLOCK:
            raise BadArchive(f"the name {name[:200]!r} is too long for an archive of this size")
        self._zipped.write(head)
        left = size
        while left and (piece := content.read(min(PIECE, left))):
            self._zipped.write(piece)
            left -= len(piece)
        if left:
            raise BadArchive(f"{name}: has become shorter while it was saved; run the command again")
        self._zipped.write(bytes(-size % BLOCK))

    def close(self) -> None:
        """Write the end of the archive."""
        self._zipped.write(bytes(2 * BLOCK))
        self._zipped.close()


class ArchiveReader:
    """Reads the members of an archive in their order."""

    def __init__(self, file: BinaryIO) -> None:
        self._zipped = gzip.GzipFile(fileobj=file, mode="rb")
        self._left = 0
        self._padding = 0

    def next(self) -> tuple[str, int] | None:
        """Return name and size of the next member, None at the end. Raises `BadArchive`."""
        if self._left:
            self._skip(self._left)
        self._skip(self._padding)
        self._left = self._padding = 0
        head = self._exactly(BLOCK, "a header")
        if head == bytes(BLOCK):
            self._end()
            return None
        try:
            entry = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeError, ValueError, OverflowError):
            raise BadArchive("the archive is damaged: a header can't be read") from None
        if entry.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or entry.size < 0 or entry.name.endswith("/"):
            what = _KINDS.get(entry.type, "something else than a file")
            raise BadArchive(f"{entry.name[:200]!r} is {what}; an archive of lineside backup has files alone")
        self._left, self._padding = entry.size, -entry.size % BLOCK
        return entry.name, entry.size

    def _end(self) -> None:
        """Read up to the checksum of gzip, which is behind the end of the archive."""
        try:
            rest = self._zipped.read(tarfile.RECORDSIZE)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise BadArchive("the archive is damaged or cut off, at its end") from None
        if len(rest) == tarfile.RECORDSIZE or rest.strip(b"\0"):
            raise BadArchive("the archive goes on behind its end")

    def read(self, most: int) -> bytes:
        """Return the whole content of the present member. Raises `BadArchive` if it has more than `most` bytes."""
        if self._left > most:
            raise BadArchive(f"a member has {self._left:,} bytes; it may have {most:,}")
        content = self._exactly(self._left, "a member")
        self._left = 0
        return content

    def copy(self, target: BinaryIO) -> str:
        """Write the content of the present member into a file; return its SHA-256. Raises `BadArchive`, `OSError`."""
        digest = sha256()
        while self._left:
            piece = self._exactly(min(PIECE, self._left), "a member")
            digest.update(piece)
            target.write(piece)
            self._left -= len(piece)
        return digest.hexdigest()

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._exactly(min(PIECE, size), "a member"))

    def _exactly(self, size: int, what: str) -> bytes:
        try:
            found = self._zipped.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise BadArchive(f"the archive is damaged or cut off, in {what}") from None
        if len(found) != size:
            raise BadArchive(f"the archive is cut off, in {what}")
        return found


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file. Raises `OSError`."""
    digest = sha256()
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
