"""The metadata of all machines, as ingest knows it, kept in a file over restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from gateway.common.atomic_file import load_json, save_json
from gateway.model.metadata import read_meta, write_meta
from gateway.model.path import MachinePath

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.model.metadata import MachineMeta


log = structlog.get_logger()

MAX_METADATA, MAX_MACHINES = 10_000, 100_000
"""Descriptions, and machines, that are kept; the oldest go first."""


class MetadataRegistry:
    """The known metadata of all machines."""

    def __init__(self, file: Path | None = None) -> None:
        """Prepare; no I/O before `load`. Without a file nothing survives a restart."""
        self._file = file
        self._by_id: dict[str, MachineMeta] = {}
        self._present: dict[MachinePath, MachineMeta] = {}
        self._changed = False

    def load(self) -> None:
        """Read what the last run saved."""
        if self._file is None:
            return
        data = self._load(self._file)
        for meta in map(read_meta, data.get("metas", ())):
            self._by_id[meta.id] = meta
        for path, key in data.get("machines", {}).items():
            if key in self._by_id:
                self._present[MachinePath(*path.split("/"))] = self._by_id[key]

    def add(self, path: MachinePath, metas: Iterable[MachineMeta]) -> None:
        """Register the metadata of a machine: the present one first, then earlier ones."""
        for position, meta in enumerate(metas):
            known = self._by_id.setdefault(meta.id, meta)
            self._changed = self._changed or known is meta
            if position == 0 and self._present.get(path) is not known:
                self._present[path] = known
                self._changed = True
        if len(self._by_id) > MAX_METADATA:
            del self._by_id[next(iter(self._by_id))]
        if len(self._present) > MAX_MACHINES:
            del self._present[next(iter(self._present))]

    def find(self, path: MachinePath, key: str) -> MachineMeta | None:
        """Return the metadata with this id; where the record names none, the machine's present metadata."""
        return self._by_id.get(key) if key else self._present.get(path)

    def save(self) -> None:
        """Write the file where anything has changed. Raises `OSError`."""
        if self._changed and self._file is not None:
            self._changed = False
            metas = [write_meta(meta) for meta in self._by_id.values()]
            machines = {str(path): meta.id for path, meta in self._present.items()}
            save_json(self._file, {"metas": metas, "machines": machines})

    def _load(self, file: Path) -> dict[str, Any]:
        """Return the content of the file; nothing where it is missing or damaged: gateways publish it again."""
        try:
            data = load_json(file)
            for meta in data.get("metas", ()):
                read_meta(meta)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("metadata.unreadable", file=str(file), error=repr(error))
            return {}
        return dict(data)
