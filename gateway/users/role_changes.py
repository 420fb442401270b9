"""The changes of an administrator to the permissions of roles, in the file of users."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.settings.dashboard_section import ROLE
from gateway.users.roles import DEFAULTS, Permission, listed
from gateway.users.users_file import MOST_ROLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.users.users_file import UserTable


class BadRole(ValueError):
    """A role can't be changed so; the text is one line that says why, and what would be right."""


class LastManager(BadRole):
    """The change would leave nobody who may manage users."""


class RoleChange(NamedTuple):
    """The permissions of a role before and after a change, for the audit log; None where there is no such role."""

    role: str
    before: list[str] | None
    after: list[str] | None


def permissions_of(written: Iterable[str]) -> frozenset[Permission]:
    """Return the permissions that a person has written. Raises `BadRole`."""
    found = list(written)
    if unknown := [one for one in found if one not in set(Permission)]:
        raise BadRole(f"{unknown[0][:50]!r} is not a permission; there are: {', '.join(Permission)}")
    return frozenset(map(Permission, found))


def known_role(table: UserTable, name: str) -> str:
    """Return the name of a role that is there. Raises `BadRole`."""
    if name not in table.roles:
        raise BadRole(f"{name[:50]!r} is not a role; there are: {', '.join(table.roles)}")
    return name


def set_role(
    table: UserTable, name: str, permissions: frozenset[Permission], provider: Collection[str] = ()
) -> RoleChange:
    """Let a role permit exactly this; a new name is a new role. Raises `BadRole`, also `LastManager`.

    `provider` are the roles that the identity provider gives.
    """
    if not re.fullmatch(ROLE, name):
        raise BadRole(
            f"{name[:50]!r} is not the name of a role; write lowercase letters, digits, '-' and '_', up to 32"
        )
    if name not in table.roles and len(table.roles) >= MOST_ROLES:
        raise BadRole(f"there are at most {MOST_ROLES} roles; remove one with lineside users remove-role")
    before = table.roles.get(name)
    managed = _is_managed(table, provider)
    table.roles[name] = permissions
    _check_managed(table, provider, managed=managed)
    return RoleChange(name, None if before is None else listed(before), listed(permissions))


def remove_role(table: UserTable, name: str, provider: Collection[str] = ()) -> RoleChange:
    """Remove a role of the plant, or give viewer, operator, engineer and admin back their default permissions.

    Raises `BadRole`, also `LastManager`.
    """
    before = table.roles[known_role(table, name)]
    managed = _is_managed(table, provider)
    if name in DEFAULTS:
        table.roles[name] = DEFAULTS[name]
        after: list[str] | None = listed(DEFAULTS[name])
    else:
        if users := [user for user, found in table.items() if found.role == name]:
            raise BadRole(f"{users[0]} has the role {name}; give that user another role first")
        del table.roles[name]
        after = None
    _check_managed(table, provider, managed=managed)
    return RoleChange(name, listed(before), after)


def give_role(table: UserTable, user: str, role: str, provider: Collection[str] = ()) -> None:
    """Give a user another role. Raises `BadRole`, also `LastManager`."""
    known_role(table, role)
    managed = _is_managed(table, provider)
    table[user] = table[user].model_copy(update={"role": role})
    _check_managed(table, provider, managed=managed)


def _is_managed(table: UserTable, provider: Collection[str]) -> bool:
    """Return whether somebody may manage users: a user who may sign in, or those of a role of the provider."""
    roles = {user.role for user in table.values() if not user.disabled} | set(provider)
    return any(Permission.USERS in table.roles.get(role, frozenset()) for role in roles)


def _check_managed(table: UserTable, provider: Collection[str], *, managed: bool) -> None:
    if managed and not _is_managed(table, provider):
        raise LastManager(
            f"nobody would be left who may manage users; give another user a role with the permission "
            f"{Permission.USERS} first"
        )
