"""Which store and which of its series a person asks for, and the warnings about names that are not there."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

import click

from gateway.cli.common import Unreachable
from gateway.common.text import listed
from gateway.model.path import matches
from gateway.stores.base import StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.model.path import MachinePath
    from gateway.settings.factory import Factory
    from gateway.stores.base import Store
    from gateway.stores.series import Series

SIMILAR = 3
"""Names that are suggested in place of an unknown name."""


class Selection(NamedTuple):
    """Series of a store in the order of their names, and warnings for a person."""

    series: list[Series]
    warnings: list[str]


@contextmanager
def opened_store(factory: Factory, name: str | None) -> Iterator[tuple[str, Store]]:
    """Open a store to read it: that of a name, or the first that can be read. Raises `click.ClickException`."""
    names = factory.store_names
    if not names:
        raise click.ClickException(f"{factory.file}: it has no stores; add a section `stores`")
    if name is not None and name not in names:
        raise click.UsageError(f"--store {name!r}: the stores of {factory.file} are {', '.join(names)}")
    templates = {machine.template for machine in factory.machines}
    problems: list[str] = []
    unreachable = False
    for one, entry in zip(names, factory.stores, strict=True):
        if name is not None and one != name:
            continue
        store = entry.kind.make(entry.settings)
        try:
            store.open_for_query(templates)
        except StoreError as error:
            problems.append(f"{one}: {error}")
            # a missing or damaged file differs from an outage
            unreachable |= (
                isinstance(error, Unavailable)
                and error.__cause__ is not None
                and not isinstance(error.__cause__, (sqlite3.Error, UnicodeDecodeError))
            )
            continue
        try:
            yield one, store
        finally:
            store.close()
        return
    raise (Unreachable if unreachable else click.ClickException)("\n".join(problems))


def select(factory: Factory, store: Store, patterns: Sequence[str], *, everywhere: bool) -> Selection:
    """Return the series that match any of the patterns: of this factory's site, or of all sites in the store."""
    plant = factory.factory.enterprise, factory.factory.site
    stored = store.series()
    own = [one for one in stored if everywhere or one.id.path[:2] == plant]
    chosen = [one for one in own if any(matches(pattern, one.id.path, one.id.point) for pattern in patterns)]
    configured = [(machine.path, point.name) for machine in factory.machines for point in machine.all_points]
    warnings = [
        _unknown(pattern, own, configured, elsewhere=_elsewhere(pattern, stored, plant) if not everywhere else [])
        for pattern in patterns
        if not any(matches(pattern, one.id.path, one.id.point) for one in own)
        and not any(matches(pattern, *one) for one in configured)
    ]
    names = {(one.id.path, one.id.point) for one in chosen}
    named = [pattern for pattern in patterns if pattern != "*"]
    events = {(m.path, p.name) for m in factory.machines for p in m.all_points if p.source.events}  # may never come
    missing = [
        one for one in configured if one not in names | events and any(matches(pattern, *one) for pattern in named)
    ]  # fmt: skip
    if missing:
        warnings.append(f"configured, and not in the store: {_listed(missing)}")
    searched = {machine.path for machine in factory.machines if machine.searches}
    known = set(configured)
    gone = [name for name in sorted(names) if name[0][:2] == plant and name not in known and name[0] not in searched]
    if gone:
        warnings.append(f"in the store, and no longer configured: {_listed(gone)}")
    if not chosen and not warnings:
        others = [] if everywhere else _elsewhere("*", stored, plant)
        text = f", but of {listed(others)}: add --everywhere" if others else ""
        warnings.append(f"the store has no readings of {'/'.join(plant)}{text}")
    return Selection(chosen, warnings)


def _listed(names: Sequence[tuple[MachinePath, str]]) -> str:
    return listed([f"{path.machine}/{point}" for path, point in names])


def _elsewhere(pattern: str, stored: Sequence[Series], plant: tuple[str, str]) -> list[str]:
    """Return other sites of the store with points that match."""
    found = {
        f"{one.id.path.enterprise}/{one.id.path.site}"
        for one in stored
        if one.id.path[:2] != plant and matches(pattern, one.id.path, one.id.point)
    }
    return sorted(found)


def _unknown(
    pattern: str, own: Sequence[Series], configured: Sequence[tuple[MachinePath, str]], elsewhere: Sequence[str]
) -> str:  # fmt: skip
    text = f"no point matches {pattern!r}"
    if elsewhere:
        return f"{text} at this site, but at {', '.join(elsewhere)}: add --everywhere"
    known = {(one.id.path, one.id.point) for one in own} | set(configured)
    machines = {path.machine for path, _ in known}
    levels = pattern.count("/")
    if levels == 0:
        names = {point for _, point in known} | machines
    elif levels == 1:
        names = {f"{path.machine}/{point}" for path, point in known}
        if pattern.endswith("/*"):
            names = {f"{machine}/*" for machine in machines}
    else:
        names = {f"{path}/{point}" for path, point in known}
    similar = get_close_matches(pattern, sorted(names), SIMILAR)
    if similar:
        return f"{text}; did you mean {' or '.join(map(repr, similar))}?"
    return f"{text}; `lineside show` lists the points that are configured" if not elsewhere else text
