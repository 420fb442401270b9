"""Types of settings: durations, sizes, names, files and secrets."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

import drivers.base
import drivers.secret
from drivers.base import Settings
from gateway.model.text import MAX_TEXT, check_text

Section = Settings
"""The base of every section: strict, frozen, unknown keys are errors."""

_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_duration(written: object) -> object:
    """Turn `500ms`, `10s`, `5m`, `1h` or `7d` into seconds. Refuse a number without a unit."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise ValueError(f"{written} is not a duration; write its unit, as in '{written}s'")  # noqa: TRY004 - see above
    return drivers.base.parse_duration(written)


def parse_size(written: object) -> object:
    """Turn `64MiB` or `2GB` into bytes."""
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB)\s*", written)
        if not match:
            raise ValueError(f"{written!r} is not a size; write a number and {', '.join(_BYTES)}, as in '2GiB'")
        return int(Fraction(match[1]) * _BYTES[match[2]])
    return written


def parse_path(written: object) -> object:
    """Turn text into a path; `~` is the home folder. Raises `ValueError`."""
    if not isinstance(written, str):
        return written
    check_text(written.replace("\\", "/"), MAX_PATH)
    try:
        return Path(written).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ValueError(f"{written!r}: {error}") from None


LONGEST_NAME = 128
"""Characters of a name: with an ending it is the name of a file, and five of them are a topic."""

MAX_PATH = 4096
"""Characters of a path, as on Linux."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A text that can be the level of a topic, a tag, and a file name."""


def check_name(written: str) -> str:
    """Return a text that can be the level of a topic, a tag, and a file name. Raises `ValueError` for others."""
    if not NAME.fullmatch(written):
        raise ValueError(
            f"{written!r} is not a name; write letters, digits, '-', '_' and '.', with a letter or digit first"
        )
    if len(written) > LONGEST_NAME:
        raise ValueError(f"the name has {len(written):,} characters; the limit is {LONGEST_NAME}")
    return written


def _text(written: str) -> str:
    """Check a text; blanks and line feeds around it are removed, as a block scalar ends with one."""
    return check_text(written.strip(), MAX_TEXT)


DURATION = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(us|ms|s|m|h|d)\s*$"}
SIZE = {"type": ["string", "integer"], "pattern": r"^\s*\d+(\.\d+)?\s*(B|kB|MB|GB|KiB|MiB|GiB)\s*$"}
"""How they are written, as JSON Schema."""

Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0), WithJsonSchema(DURATION)]
"""A length of time, in seconds."""

Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0), WithJsonSchema(SIZE)]
"""An amount of data, in bytes."""

Folder = Annotated[Path, BeforeValidator(parse_path)]
"""A folder or file."""

File = Folder
"""A file."""


def _name(written: object) -> object:
    return check_name(written) if isinstance(written, str) else written


Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})]
"""A name that is also a level of a topic."""


Text = Annotated[str, AfterValidator(_text)]
"""A description or label: one line that every store, terminal and page can show."""

Secret = drivers.secret.Secret
"""A secret by its name, as `{secret: broker_password}`."""

MissingSecret = drivers.secret.MissingSecret
"""A secret is named and is nowhere to be found."""
