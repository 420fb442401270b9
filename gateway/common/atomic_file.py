"""Files that are replaced as a whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def save_json(file: Path, data: dict[str, Any]) -> None:
    """Replace a file as a whole: a power cut leaves the old one, or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    with new.open("wb") as opened:
        opened.write(orjson.dumps(data))
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)


def load_json(file: Path) -> Any:  # noqa: ANN401 - what stands in a file
    """Return the parsed content of a JSON file. Raises `OSError` or `ValueError`."""
    return orjson.loads(file.read_bytes())


def replace_file(file: Path, pieces: Iterable[bytes]) -> None:
    """Replace a file by the pieces, as a whole. Raises `OSError`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    with new.open("wb") as opened:
        opened.writelines(pieces)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
