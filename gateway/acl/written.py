"""The result of writing users and rights for a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class NotPossible(Exception):
    """The broker lacks a feature that the configuration uses; the text says which, and what to change."""


class Written(NamedTuple):
    """The files of a broker by name, the commands that set the passwords, and what the broker can't enforce."""

    files: Mapping[str, str]
    commands: Sequence[str]
    notes: Sequence[str]
