"""The roles, from the least rights to the most, and the identity of a person who is signed in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """The rights of a user; each role has those of the roles before it (IEC 62443-4-2, CR 2.1)."""

    VIEWER = "viewer"
    """Looks at machines, readings and services."""
    OPERATOR = "operator"
    """Acts on services, as in acknowledging an alarm."""
    ENGINEER = "engineer"
    """Changes the configuration."""
    ADMIN = "admin"
    """Manages users, and reads the audit log."""

    def includes(self, other: Role) -> bool:
        """Return whether this role has the rights of another."""
        return _ORDER[self] >= _ORDER[other]


_ORDER = {role: place for place, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or program that is signed in. `method` is `password`, `oidc` or `local`."""

    name: str
    role: Role
    method: str
