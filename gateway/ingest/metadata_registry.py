"""The metadata of all machines that ingest knows."""

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
"""How many descriptions, and machines, ingest keeps in mind; the oldest go first."""


class MetadataRegistry:
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
        data = self._load(self._file)
        for meta in map(read_meta, data.get("metas", ())):
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
        if len(self._by_id) > MAX_METADATA:
            del self._by_id[next(iter(self._by_id))]
        if len(self._newest) > MAX_MACHINES:
            del self._newest[next(iter(self._newest))]

    def find(self, path: MachinePath, key: str) -> MachineMeta | None:
        """Return the description that a record names; where it names none, the machine's newest."""
        return self._by_id.get(key) if key else self._newest.get(path)

    def save(self) -> None:
        """Write the file where anything is new. Raises `OSError`."""
        if self._changed and self._file is not None:
            self._changed = False
            metas = [write_meta(meta) for meta in self._by_id.values()]
            machines = {str(path): meta.id for path, meta in self._newest.items()}
            save_json(self._file, {"metas": metas, "machines": machines})

    def _load(self, file: Path) -> dict[str, Any]:
        """Return the file's content. A missing or damaged file is empty: gateways publish their metadata again."""
        try:
            data = load_json(file)
            for meta in data.get("metas", ()):
                read_meta(meta)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("metas.unreadable", file=str(file), error=repr(error))
            return {}
        return dict(data)
