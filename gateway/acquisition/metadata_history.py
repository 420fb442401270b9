"""The metadata that machines of this gateway have had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import structlog

from gateway.common.atomic_file import load_json, save_json
from gateway.model.metadata import VERSION, MachineMeta, read_meta, write_meta

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.model.path import MachinePath
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point


log = structlog.get_logger()

EARLIER = 4
"""Descriptions of a machine that are told beside its present one: records made with them may still be in a spool."""


def encode_meta(machine: Machine, earlier: Iterable[MachineMeta] = ()) -> bytes:
    """Return the payload of a machine's `meta` topic, with what it was earlier."""
    told = {
        "v": VERSION,
        "id": machine.meta.id,
        "template": machine.template,
        "protocol": machine.protocol.name,
        "points": {point.name: _point(point) for point in machine.points},
    }
    if before := [write_meta(meta) for meta in earlier]:
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


class MetaHistory:
    """What a gateway's machines were, in a file beside its spool; `update` is for its start."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def update(self, machines: Iterable[Machine]) -> dict[MachinePath, list[MachineMeta]]:
        """Return what each machine was earlier, the latest first, and keep what it is now. Raises `OSError`."""
        known = self._load()
        found, kept = {}, dict(known)  # a machine that is gone may come back
        for machine in machines:
            now, path = machine.meta, str(machine.path)
            before = [meta for meta in map(read_meta, known.get(path, ())) if meta.id != now.id]
            found[machine.path] = before[:EARLIER]
            kept[path] = [write_meta(meta) for meta in (now, *found[machine.path])]
        if kept != known:
            save_json(self._file, kept)
        return found

    def _load(self) -> dict[str, Any]:
        """Return the file's content. A missing or damaged file is an empty history."""
        try:
            data = load_json(self._file)
            for meta in (meta for metas in data.values() for meta in metas):
                read_meta(meta)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("metas.unreadable", file=str(self._file), error=repr(error))
            return {}
        return dict(data)
