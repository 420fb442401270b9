"""The file of users: YAML, readable by its owner alone, replaced as a whole.

    format: 1
    users:
      anna:
        role: operator
        password: $argon2id$v=19$m=65536,t=3,p=4$...
        created: 2026-12-01T06:00:00Z
    roles:
      operator: [trends, acknowledge]

`roles` has the roles that permit something else than by default, and those of the plant.
Commands
and administrators on the page change it under a lock; a dashboard reads it again when it has changed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import stat
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import structlog
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from gateway.common.setting_types import Section
from gateway.common.state_log import StateLog
from gateway.settings.dashboard_section import RoleName  # noqa: TC001 - pydantic reads it
from gateway.settings.document import parse_document
from gateway.settings.problems import ConfigurationError
from gateway.settings.serialize import dump
from gateway.settings.validation import validate
from gateway.users.roles import DEFAULTS, Permission, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

log = structlog.get_logger(__name__)

MOST_BYTES, MOST_USERS = 2**20, 1_000
"""The size of a file, and the users in it."""

MODE = 0o600
"""The rights of the file: its owner reads and writes it."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$"
LONGEST_NAME = 64
"""The pattern of a user's name, and its length in characters."""

UserName = Annotated[str, StringConstraints(pattern=NAME, max_length=LONGEST_NAME)]

MOST_ROLES = 50
"""Roles of a file."""

_HASH = r"\$argon2id\$v=19\$m=\d{1,8},t=\d{1,3},p=\d{1,3}\$[A-Za-z0-9+/]{11,128}\$[A-Za-z0-9+/]{16,128}"

LONGEST_HASH = 400
"""Characters of a hash."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"


def _as_set(written: object) -> object:
    return frozenset(written) if isinstance(written, list) else written


def _is_hash(written: str) -> str:
    if len(written) > LONGEST_HASH or not re.fullmatch(_HASH, written):
        # the text is not repeated: it may be a password
        raise ValueError("is not an Argon2id hash; lineside users password CONFIG NAME writes one")
    return written


class User(Section):
    """A user of the file."""

    role: RoleName
    """The user's role, as in `operator`."""
    password: Annotated[str, AfterValidator(_is_hash)] = Field(repr=False)
    """The Argon2id hash of the password, as in `$argon2id$v=19$m=65536,t=3,p=4$...`."""
    created: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """When the user was added, in UTC, as in `2026-12-01T06:00:00Z`."""
    disabled: bool = False
    """Whether the user can't sign in, as in `true`."""


class UsersDocument(Section):
    """The content of the file."""

    format: Literal[1]
    """The format of the file, as in `1`."""
    users: Annotated[dict[UserName, User], Field(max_length=MOST_USERS)] = {}
    """The users by their names."""
    roles: Annotated[
        dict[
            RoleName,
            Annotated[frozenset[Annotated[Permission, Field(strict=False)]], BeforeValidator(_as_set)],
        ],
        Field(max_length=MOST_ROLES),
    ] = {}
    """The permissions of roles that do not have their default, as in `{operator: [trends, acknowledge]}`."""


class UserTable(dict[str, User]):
    """The users of a file by their names; `roles` has the permissions of each role."""

    def __init__(
        self, users: Mapping[str, User] | None = None, roles: Mapping[str, frozenset[Permission]] | None = None
    ) -> None:
        super().__init__(users or {})
        self.roles: dict[str, frozenset[Permission]] = {**DEFAULTS, **(roles or {})}


class UnusableUsers(Exception):
    """The file of users can't be used; the text is one line that says why, and what would be right."""


class UnknownUser(Exception):
    """There is no user of this name; the text names those that there are."""


def read_users(file: Path) -> UserTable:
    """Return the users of a file by their names; none of a file that does not exist. Raises `UnusableUsers`.

    The file must belong to the user of this process or to root, and be readable by nobody else. A symbolic link is
    refused: it could name a file of another.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return UserTable()
    except OSError as error:
        reason = "is a symbolic link" if file.is_symlink() else str(error.strerror).lower()
        raise UnusableUsers(f"{file}: {reason}; write the path of the file itself") from None
    with os.fdopen(descriptor, "rb") as opened:
        _check_rights(file, os.fstat(descriptor))
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UnusableUsers(f"{file}: larger than {MOST_BYTES:,} bytes")
    return _parse(file, content)


def _check_rights(file: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnusableUsers(f"{file}: is not a regular file")
    if found.st_uid not in {0, os.geteuid()}:
        raise UnusableUsers(f"{file}: belongs to user id {found.st_uid}; run chown {os.geteuid()} {file}")
    if found.st_mode & 0o077:
        raise UnusableUsers(f"{file}: others can read or write it; run chmod 600 {file}")


def _parse(file: Path, content: bytes) -> UserTable:
    try:
        document = parse_document(content.decode(), file)
        found = validate(UsersDocument, document, document.data, ())
    except UnicodeDecodeError:
        raise UnusableUsers(f"{file}: is not UTF-8") from None
    except ConfigurationError as error:
        raise UnusableUsers(str(error.problems[0])) from None
    if found is None:
        raise UnusableUsers(str(document.problems[0]))
    table = UserTable(found.users, found.roles)
    for name, user in table.items():
        if user.role not in table.roles:
            raise UnusableUsers(f"{file}: {name} has the role {user.role}; there are: {', '.join(table.roles)}")
    return table


@contextmanager
def changing(file: Path) -> Iterator[UserTable]:
    """Give the users for a change, and replace the file afterwards. Raises `UnusableUsers` or `OSError`.

    Two commands change it one after the other. Nothing is written if the change raises.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(file.with_name(file.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = read_users(file)
        yield users
        if len(users) > MOST_USERS:
            raise UnusableUsers(f"{file}: at most {MOST_USERS:,} users; remove some")
        _write(file, users)
    finally:
        os.close(lock)


def _write(file: Path, users: UserTable) -> None:
    """Replace the file; a power cut leaves the old file or the new file."""
    data: dict[str, Any] = {"format": 1, "users": {name: _as_dict(user) for name, user in sorted(users.items())}}
    if roles := {name: listed(one) for name, one in users.roles.items() if DEFAULTS.get(name) != one}:
        data["roles"] = roles
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(dump(data).encode())
        opened.flush()
        os.fsync(descriptor)
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _as_dict(user: User) -> dict[str, Any]:
    keys: dict[str, Any] = {"role": str(user.role), "password": user.password, "created": user.created}
    return keys | ({"disabled": True} if user.disabled else {})


def check_name(name: str) -> None:
    """Raise `ValueError` for a text that can't be the name of a user."""
    if len(name) > LONGEST_NAME or not re.fullmatch(NAME, name):
        raise ValueError(
            f"{name[:LONGEST_NAME]!r} is not a user name; write letters, digits, '-', '_', '.' and '@', with a "
            f"letter or digit first, {LONGEST_NAME} at the most"
        )


def new_user(role: str, hashed: str) -> User:
    """Return a user that is created now."""
    created = datetime.now(UTC).strftime(_TIME)
    return User.model_validate({"role": str(role), "password": hashed, "created": created})


def user_of(users: Mapping[str, User], name: str) -> User:
    """Return a user. Raises `UnknownUser`."""
    if name not in users:
        raise UnknownUser(f"there is no user {name!r}; there are: {', '.join(sorted(users)) or 'none'}")
    return users[name]


class _Look(NamedTuple):
    """The identity of a version of the file."""

    inode: int
    size: int
    changed: int


class Users:
    """The users of a file as they were at the last `refresh`, which reads the file when it has changed.

    A file that can't be used any more leaves nobody to sign in: it is logged once, and tried again.
    """

    def __init__(self, file: Path) -> None:
        """Prepare; no I/O before the first `refresh`."""
        self.file = file
        self._look: _Look | None = None
        self._users = UserTable()
        self._state = StateLog(log, "users.unstable", file=str(file))
        self._reading = asyncio.Lock()

    def exists(self) -> bool:
        """Return whether there is a file, usable or not."""
        return os.path.lexists(self.file)

    def get(self, name: str) -> User | None:
        """Return a user by name, None if there is none."""
        return self._users.get(name)

    def permissions(self, role: str) -> frozenset[Permission] | None:
        """Return the permissions of a role, None if there is no such role."""
        return self._users.roles.get(role)

    def roles(self) -> dict[str, frozenset[Permission]]:
        """Return all roles with their permissions."""
        return dict(self._users.roles)

    def all(self) -> dict[str, User]:
        """Return all users by their names."""
        return dict(self._users)

    async def refresh(self) -> None:
        """Read the file if it has changed, in a thread."""
        if self._look_now() == self._look:
            return
        async with self._reading:
            look = self._look_now()
            if look == self._look:
                return
            try:
                self._users = await asyncio.to_thread(read_users, self.file)
            except (UnusableUsers, OSError) as error:
                self._users = UserTable()
                self._users.roles = {}  # also those who are signed in by the provider have no rights then
                self._state.enter("users.unusable", error=str(error))
            else:
                self._state.enter("users.read", healthy=True, users=len(self._users))
            self._look = look

    def _look_now(self) -> _Look | None:
        try:
            found = self.file.lstat()
        except OSError:
            return None
        return _Look(found.st_ino, found.st_size, max(found.st_mtime_ns, found.st_ctime_ns))
