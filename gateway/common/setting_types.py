"""Types of settings: durations, sizes, names, files and secrets."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

import drivers.base
import drivers.secret
from drivers.base import Settings
from drivers.settings import parse_file
from gateway.model.text import MAX_TEXT, check_text

Section = Settings
"""The base of every section: strict, frozen, unknown keys are errors."""

_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


_LIKELY_MS = 100
"""From this number on a duration without a unit is likely one of milliseconds."""


def parse_duration(written: object) -> object:
    """Turn `500ms`, `10s`, `5m`, `1h` or `7d` into seconds. Refuse a number without a unit."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        likely = f"{written}ms or {written}s" if written >= _LIKELY_MS else f"{written}s or {written}ms"
        raise ValueError(f"{written} is not a duration; write its unit, as in {likely}")  # noqa: TRY004 - see above
    return drivers.base.parse_duration(written)


def parse_size(written: object) -> object:
    """Turn `64MiB` or `2GB` into bytes."""
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB)\s*", written)
        if not match:
            raise ValueError(
                f"{written!r} is not a size; write a number and {', '.join(_BYTES)}, as in {_likely_size(written)}"
            )
        return int(Fraction(match[1]) * _BYTES[match[2]])
    return written


def _likely_size(written: str) -> str:
    """Return the size that is likely meant: `64M` is 64MiB."""
    match = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*([kKmMgG])[iI]?[bB]?(?:ytes?)?\s*", written)
    return f"{match[1].replace(',', '.')}{match[2].upper()}iB" if match else "2GiB"


def parse_path(written: object) -> object:
    """Turn text into a path; `~` is the home folder. Raises `ValueError`."""
    if not isinstance(written, str):
        return written
    check_text(written.replace("\\", "/"), MAX_PATH)
    return parse_file(written)


LONGEST_NAME = 128
"""Characters of a name: with an ending it is the name of a file, and five of them are a topic."""

MAX_PATH = 4096
"""Characters of a path, as on Linux."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""A text that can be the level of a topic, a tag, and a file name."""


_UMLAUTS = {f"{letter}\u0308": f"{letter}e" for letter in "aouAOU"}
"""Letters with a diaeresis, as in German, and how they are written without."""


def _likely_name(written: str) -> str:
    """Return the name that is like a text, as the end of a message; empty if letters of the text have no equal."""
    if written.startswith("$"):
        return f"; a variable is ${{{written[1:]}}}" if written[1:].isidentifier() else ""
    letters = unicodedata.normalize("NFKD", written).replace("\u00df", "ss")
    for umlaut, plain in _UMLAUTS.items():
        letters = letters.replace(umlaut, plain)
    if any(one.isalpha() and not one.isascii() for one in letters):
        return ""
    kept = "".join(one for one in letters if not unicodedata.combining(one))
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", kept).strip("-_.")
    return f", as in {name!r}" if name and len(name) <= LONGEST_NAME else ""


def check_name(written: str) -> str:
    """Return a text that can be the level of a topic, a tag, and a file name. Raises `ValueError` for others."""
    if not NAME.fullmatch(written):
        raise ValueError(
            f"{written!r} is not a name; write letters, digits, '-', '_' and '.', with a letter or digit first"
            f"{_likely_name(written)}"
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
