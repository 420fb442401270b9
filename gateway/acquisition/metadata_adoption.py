"""Copy the descriptions that another gateway's records name, for the gateway that adopts these records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.common.atomic_file import load_json, replace_file

if TYPE_CHECKING:
    from pathlib import Path


def adopt_metadata(folder: Path, gateway: str, other: str) -> None:
    """Add the descriptions that gateway `other` has kept to those of `gateway`. Raises `OSError`.

    A missing or damaged file counts as empty: ingest knows most descriptions.
    """
    target = folder / f"{gateway}.metas.json"
    own, others = _load(target), _load(folder / f"{other}.metas.json")
    merged = own | {path: _union(own.get(path, []), metas) for path, metas in others.items()}
    if merged != own:
        replace_file(target, [orjson.dumps(merged)])


def _union(own: Any, others: Any) -> list[Any]:  # noqa: ANN401 - JSON
    first, second = (metas if isinstance(metas, list) else [] for metas in (own, others))
    return first + [meta for meta in second if meta not in first]


def _load(file: Path) -> dict[str, Any]:
    try:
        data = load_json(file)
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
