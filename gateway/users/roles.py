"""Roles with their permissions, and the identity of a person who is signed in (IEC 62443-4-2, CR 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Permission(StrEnum):
    """The actions that a role can permit. Each role permits to see machines, live readings, alarms and services."""

    TRENDS = "trends"
    """See stored readings as trends."""
    EXPORT = "export"
    """Save stored readings as a file."""
    ACKNOWLEDGE = "acknowledge"
    """Acknowledge and reset alarms."""
    SHELVE = "shelve"
    """Shelve alarms, return them to the list, and remove notes."""
    REASONS = "reasons"
    """Give reasons of stops."""
    CONFIGURATION = "configuration"
    """See the configuration."""
    USERS = "users"
    """See and unlock users, and change what roles permit."""
    AUDIT = "audit"
    """Read the audit log."""


class Role(StrEnum):
    """The roles that are there without a change."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"


_VIEWER = frozenset({Permission.TRENDS, Permission.EXPORT})
_OPERATOR = _VIEWER | {Permission.ACKNOWLEDGE, Permission.SHELVE, Permission.REASONS}
_ENGINEER = _OPERATOR | {Permission.CONFIGURATION}

DEFAULTS: Mapping[str, frozenset[Permission]] = {
    str(Role.VIEWER): _VIEWER,
    str(Role.OPERATOR): _OPERATOR,
    str(Role.ENGINEER): _ENGINEER,
    str(Role.ADMIN): _ENGINEER | {Permission.USERS, Permission.AUDIT},
}
"""The permissions of these roles until an administrator changes them."""


def listed(permissions: frozenset[Permission]) -> list[str]:
    """Return permissions in the order of their definition, as files, commands and the audit log have them."""
    return [str(one) for one in Permission if one in permissions]


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or program that is signed in, and the permissions of its role.

    `method` is `password`, `oidc` or `link`.
    """

    name: str
    role: str
    method: str
    permissions: frozenset[Permission] = frozenset()

    def may(self, permission: Permission) -> bool:
        """Return whether the role permits something."""
        return permission in self.permissions
