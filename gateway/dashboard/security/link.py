"""The link that signs in to a page without users: a token, in a file that the account of the page alone reads.

Each account of the box reaches a page at the loopback interface. As long as the page has no users, its own account,
and root, can read the link, and nobody else. The link is never logged.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import structlog

from drivers.own_files import read_own
from gateway.common.atomic_file import replace_file
from gateway.common.file_locks import is_locked
from gateway.common.own_files import open_or_make
from gateway.settings.dashboard_section import LINK_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.users.users_file import Users

log = structlog.get_logger(__name__)

TOKEN_BYTES = 16
"""Random bytes of a token (128 bits): it can't be guessed, and a link fits into a line of a terminal."""

MOST_BYTES = 1_000
"""Bytes of a file with a link."""


def link_file(folder: Path, port: int) -> Path:
    """Return the file with the link of the page at a port."""
    return folder / f"dashboard-{port}.link"


def make_link(folder: Path, page: str) -> str:
    """Write the link of a page that is started next, and return it. `page` is its address, as in `http://HOST:PORT/`.

    Raises `OSError`.
    """
    link = _link(page, secrets.token_urlsafe(TOKEN_BYTES))
    replace_file(link_file(folder, urlsplit(page).port or 0), [f"{link}\n".encode()], durable=False)
    return link


def links_in(folder: Path) -> list[str]:
    """Return the links of the pages that run with a folder, in the order of their ports. Raises `OSError`."""
    found = [file for file in folder.iterdir() if LINK_FILE.fullmatch(file.name)] if folder.is_dir() else []
    running = sorted((file for file in found if is_locked(file)), key=lambda file: (len(file.name), file.name))
    return [read_own(file, MOST_BYTES).decode("ascii", "replace").strip() for file in running]


def _link(page: str, token: str) -> str:
    return f"{page}login?token={token}"


class Link:
    """The link of one page, from `write` until `remove`."""

    def __init__(self, folder: Path, users: Users) -> None:
        """Prepare; no I/O before `write`."""
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._folder = folder
        self._users = users
        self._closed = False
        self._file: Path | None = None
        self._lock = -1

    @property
    def is_open(self) -> bool:
        """Whether the link signs in: until there is a user, also if the file of users is removed later."""
        self._closed = self._closed or self._users.exists()
        return not self._closed

    def matches(self, token: str) -> bool:
        """Return whether a token of a browser is that of the link, in a time that says nothing of it."""
        return self.is_open and secrets.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    @property
    def proof(self) -> str:
        """The mark of a browser that has come by the link, and reads the notice of use first."""
        return sha256(f"link {self.token}".encode()).hexdigest()

    def write(self, page: str) -> str:
        """Write the link into its file, and return it. `page` is the address of the page, as in `http://HOST:PORT/`.

        The link of a file that `make_link` has written, or a page that was killed has left, is used again. A file
        that can't be written is logged; the link counts without it.
        """
        file = link_file(self._folder, urlsplit(page).port or 0)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = open_or_make(file)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._lock).st_mode & 0o077 == 0:  # else others have read it
                self.token = _token_of(os.read(self._lock, MOST_BYTES), page) or self.token
            os.fchmod(self._lock, 0o600)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{_link(page, self.token)}\n".encode(), 0)
            self._file = file
        except OSError as error:
            hint = "add a user with lineside users add, or let the page write into this folder"
            log.warning("dashboard.link_not_written", file=str(file), error=error.strerror or str(error), hint=hint)
        return _link(page, self.token)

    def remove(self) -> None:
        """Remove the file: the link counts no longer."""
        self._closed = True
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _token_of(content: bytes, page: str) -> str:
    """Return the token of a file that was written before for this page, empty if it has none."""
    text = content.decode("ascii", "replace").strip()
    tokens = parse_qs(urlsplit(text).query).get("token", [""]) if text.startswith(f"{page}login?") else [""]
    return tokens[0] if re.fullmatch(r"[A-Za-z0-9_-]{22}", tokens[0]) else ""
