"""Checks of decoded records: every codec makes them, so that later steps can rely on names, times and paths.

Each check raises `Undecodable` with the reason. Valid names, lists of names and machine paths are cached and shared:
all records that have them get the same objects, whatever their codec, and stores keep tables by them.
"""

from __future__ import annotations

from functools import lru_cache
from reprlib import repr as short
from typing import TYPE_CHECKING

from gateway.codecs.base import Undecodable
from gateway.model.path import MachinePath
from gateway.model.text import check_text

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_BYTES = 8 * 2**20
"""The largest payload that is parsed: records of a gateway are a hundredth of it."""

MAX_NAME = 256
"""Characters of the name of a gateway, a spool or a point."""

MAX_CHECKED = 20_000
"""Valid point names that are cached; beyond that all are checked again."""

MAX_NAME_LISTS, MAX_LISTED = 500, 1_000
"""Valid lists of names that are cached, so that scans have the same object, and the names in such a list; beyond that
all are checked again."""

TIMES = range(253_402_300_800_000_000)
"""Microseconds since the epoch, until the end of the year 9999."""

_SEQS = range(1, 2**63)
"""The sequence numbers that a spool assigns."""

_WILDCARDS = frozenset("/+#")
"""Characters that a topic level must not contain (MQTT 5, 4.7.1): a gateway has topics with its name."""

_checked: set[str] = set()
_name_lists: dict[tuple[str, ...], tuple[str, ...]] = {}


def check_size(payload: bytes) -> None:
    """Refuse a payload of more than `MAX_BYTES` bytes."""
    if len(payload) > MAX_BYTES:
        raise Undecodable(f"is of {len(payload)} bytes, where {MAX_BYTES} are the most")


def check_sender(gateway: str, spool: str, seq: int) -> None:
    """Refuse a name of a record that can't be a level of a topic, or has no valid sequence number."""
    for field, name in (("gateway", gateway), ("spool", spool)):
        if not name or not _WILDCARDS.isdisjoint(name):
            raise Undecodable(f"{field} is {short(name)}, which can't be a level of a topic")
        _check_text(name, field)
    if seq not in _SEQS:
        raise Undecodable(f"seq is {seq}, where a number from 1 to {_SEQS[-1]} belongs")


def check_point_names(named: Collection[str]) -> None:
    """Refuse names that would break out of their place in a store's protocol, or be another point's there."""
    if _checked.issuperset(named):
        return
    for name in named:
        if not name:
            raise Undecodable("the name of a point is empty")
        _check_text(name, "the name of a point")
    if len(_checked) > MAX_CHECKED:
        _checked.clear()
    _checked.update(named)


def shared_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a list of names as the object that all records share. Refuses a name that is there twice."""
    known = _name_lists.get(names)
    if known is not None:
        return known
    if len(set(names)) < len(names):
        raise Undecodable(f"{next(name for name in names if names.count(name) > 1)!r:.60} is there twice")
    check_point_names(names)
    if len(names) <= MAX_LISTED:
        if len(_name_lists) >= MAX_NAME_LISTS:
            _name_lists.clear()
        _name_lists[names] = names
    return names


def check_bad_without_value(bad: Collection[str], names: Collection[str]) -> None:
    """Refuse a point that is bad and has a value: either would be invented."""
    if both := set(bad).intersection(names):
        raise Undecodable(f"{short(min(both))} is bad, and has a value")


@lru_cache(maxsize=MAX_CHECKED)
def machine_path(written: str) -> MachinePath:
    """Return the path of a machine, `enterprise/site/area/line/machine`."""
    levels = written.split("/")
    if len(levels) != len(MachinePath._fields) or not all(levels) or any(sign in written for sign in "+#"):
        raise Undecodable(f"{short(written)} is not the path of a machine")
    for level in levels:
        _check_text(level, "a level of the path of a machine")
    return MachinePath(*levels)


def _check_text(text: str, field: str) -> None:
    try:
        check_text(text, MAX_NAME)
    except ValueError as error:
        raise Undecodable(f"{field} {error}") from error
