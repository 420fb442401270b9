"""What a machine's points are: published retained by the gateway, and what ingest gives to the stores.

A description has an id, drawn from what stores need of it. A record names the one that it was made with, so readings
keep the unit and type that they were taken in, also where they wait in a spool while their point is configured anew.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from drivers.base import ValueType
from gateway.model import MachinePath
from gateway.stores.base import MachineMeta

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

log = structlog.get_logger()

VERSION = 1

EARLIER = 4
"""Descriptions of a machine that are told beside its present one: records made with them may still be in a spool."""

MOST_METAS, MOST_MACHINES = 10_000, 100_000
"""How many descriptions, and machines, ingest keeps in mind; the oldest go first."""

_TYPES = {kind.value for kind in ValueType}


def meta_of(machine: Machine) -> MachineMeta:
    """Return what stores need, from the configuration."""
    return MachineMeta(
        machine.template,
        {point.name: point.type.value for point in machine.points},
        {point.name: point.unit for point in machine.points},
    )


def encode_meta(machine: Machine, earlier: Iterable[MachineMeta] = ()) -> bytes:
    """Return the payload of a machine's `meta` topic, with what it was earlier."""
    told = {
        "v": VERSION,
        "id": meta_of(machine).id,
        "template": machine.template,
        "protocol": machine.protocol.name,
        "points": {point.name: _point(point) for point in machine.points},
    }
    if before := [_written(meta) for meta in earlier]:
        told["earlier"] = before
    return orjson.dumps(told, option=orjson.OPT_NON_STR_KEYS)


def _point(point: Point) -> dict[str, Any]:
    told: dict[str, Any] = {"type": point.type, "unit": point.unit, "every": point.every}
    if point.description:
        told["description"] = point.description
    if point.range is not None:
        told["range"] = point.range
    if point.labels:
        told["labels"] = point.labels
    return told


def _written(meta: MachineMeta) -> dict[str, Any]:
    points = {name: {"type": kind, "unit": meta.units[name]} for name, kind in meta.types.items()}
    return {"template": meta.template, "points": points}


def _read(data: Any) -> MachineMeta:  # noqa: ANN401 - what came over the wire
    points = data["points"].items()
    template, types = data["template"], {name: point["type"] for name, point in points}
    units = {name: point.get("unit", "") for name, point in points}
    if not template or not all(isinstance(text, str) for text in (template, *units.values())):
        raise ValueError("template and units are text")
    if not _TYPES.issuperset(types.values()):
        raise ValueError(f"a type is one of {', '.join(sorted(_TYPES))}")
    return MachineMeta(template, types, units)


def decode_meta(payload: bytes) -> list[MachineMeta]:
    """Return what stores need of a `meta` payload: what the machine is now, and then what it was earlier.

    Raises `ValueError` for what is none.
    """
    data = orjson.loads(payload)
    try:
        return [_read(data), *map(_read, data.get("earlier", ()))]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"no meta: {error!r}") from error


class MetaHistory:
    """What a gateway's machines were, in a file beside its spool; `update` is for its start."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def update(self, machines: Iterable[Machine]) -> dict[MachinePath, list[MachineMeta]]:
        """Return what each machine was earlier, the latest first, and keep what it is now. Raises `OSError`."""
        known = _load(self._file)
        found, kept = {}, dict(known)  # a machine that is gone may come back
        for machine in machines:
            now, path = meta_of(machine), str(machine.path)
            before = [meta for meta in map(_read, known.get(path, ())) if meta.id != now.id]
            found[machine.path] = before[:EARLIER]
            kept[path] = [_written(meta) for meta in (now, *found[machine.path])]
        if kept != known:
            save_json(self._file, kept)
        return found


class Metas:
    """The descriptions that are known of all machines, kept in a file."""

    def __init__(self, file: Path | None = None) -> None:
        """Prepare; nothing is read before `load`. Without a file nothing is kept."""
        self._file = file
        self._by_id: dict[str, MachineMeta] = {}
        self._newest: dict[MachinePath, MachineMeta] = {}
        self._changed = False

    def load(self) -> None:
        """Read what was known when the last run ended."""
        if self._file is None:
            return
        data = _load(self._file)
        for meta in map(_read, data.get("metas", ())):
            self._by_id[meta.id] = meta
        for path, key in data.get("machines", {}).items():
            if key in self._by_id:
                self._newest[MachinePath(*path.split("/"))] = self._by_id[key]

    def add(self, path: MachinePath, metas: Iterable[MachineMeta]) -> None:
        """Learn what a machine is, and what it was earlier: the present one comes first."""
        for turn, meta in enumerate(metas):
            known = self._by_id.setdefault(meta.id, meta)
            self._changed = self._changed or known is meta
            if turn == 0 and self._newest.get(path) is not known:
                self._newest[path] = known
                self._changed = True
        if len(self._by_id) > MOST_METAS:
            del self._by_id[next(iter(self._by_id))]
        if len(self._newest) > MOST_MACHINES:
            del self._newest[next(iter(self._newest))]

    def find(self, path: MachinePath, key: str) -> MachineMeta | None:
        """Return the description that a record names; where it names none, the machine's newest."""
        return self._by_id.get(key) if key else self._newest.get(path)

    def save(self) -> None:
        """Write the file where anything is new. Raises `OSError`."""
        if self._changed and self._file is not None:
            self._changed = False
            metas = [_written(meta) for meta in self._by_id.values()]
            machines = {str(path): meta.id for path, meta in self._newest.items()}
            save_json(self._file, {"metas": metas, "machines": machines})


def _load(file: Path) -> dict[str, Any]:
    """Return a file's content: what is not there, or damaged, is learnt anew from what is published."""
    try:
        data = orjson.loads(file.read_bytes())
        for meta in data["metas"] if "metas" in data else [meta for metas in data.values() for meta in metas]:
            _read(meta)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("metas.unreadable", file=str(file), error=repr(error))
        return {}
    return dict(data)


def save_json(file: Path, data: dict[str, Any]) -> None:
    """Replace a file as a whole: a power cut leaves the old one, or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    with new.open("wb") as opened:
        opened.write(orjson.dumps(data))
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
