"""Classify errors of the disk and of SQLite: damage, no room, or a condition that may pass."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PRIMARY = 0xFF
"""The part of an extended result code of SQLite that names the kind of error."""

_UNREADABLE = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
}
"""Parts of the disk that can't be read any more."""

_ENVIRONMENT = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip
"""Errors whose cause is not in the file; all others come from damage, because the statements are correct."""

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}


_MISUSE = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.NotSupportedError)
"""Errors whose cause is a value that SQLite does not accept, or a closed database."""


class Damaged(sqlite3.DatabaseError):
    """The disk returned other data than was written; the text says which data."""


def is_damage(error: BaseException) -> bool:
    """Return True if an error comes from the contents of the file, and not from the disk or another process."""
    if isinstance(error, UnicodeDecodeError):  # of SQLite's own message, which quotes contents of the file
        return True
    if isinstance(error, _MISUSE):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and (
        code is None or code in _UNREADABLE or code & _PRIMARY not in _ENVIRONMENT
    )


@contextmanager
def damage_raised() -> Iterator[None]:
    """Raise `Damaged` for every error that only damaged contents can cause while a database is read.

    Examples: a value of another type than the column's, a length beyond all memory, a message that is not UTF-8, a
    part of the disk that can't be read.
    """
    try:
        yield
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise Damaged(f"its contents are damaged ({type(error).__name__})") from error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise Damaged("a part of it can't be read") from error


def is_refused_by_disk(error: BaseException) -> bool:
    """Return True for an error of the disk, or for unrepaired damage: the caller repeats the same batch."""
    return isinstance(error, OSError | sqlite3.Error) and not isinstance(error, (*_MISUSE, sqlite3.IntegrityError))


_PASSING = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.EUCLEAN, errno.ESHUTDOWN, errno.ENOTCONN,
}  # fmt: skip

_PASSING_IN_SQLITE = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL,
}  # fmt: skip


def may_pass(error: Exception) -> bool:
    """Return True if a spool that can't be opened may open later: its disk is full, failing or read-only.

    False for causes that only a person can remove: another gateway uses it, a newer format, missing rights.
    """
    if isinstance(error, OSError):
        return error.errno in _PASSING
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY in _PASSING_IN_SQLITE


def is_no_room(error: BaseException) -> bool:
    """Return True if the disk, or the quota of the process, is full."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return getattr(error, "sqlite_errorcode", None) in _NO_ROOM
