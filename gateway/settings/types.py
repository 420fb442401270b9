"""What sections are made of: durations, sizes, names and secrets."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

import drivers.base
from drivers.base import Settings

Section = Settings
"""The base of every section: strict, frozen, unknown keys are errors."""

_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_duration(written: object) -> object:
    """Turn `500ms`, `10s`, `5m`, `1h` or `7d` into seconds; a number alone is none, since it could be anything."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise ValueError(f"{written} is no duration; write its unit, as in '{written}s'")  # noqa: TRY004 - see above
    return drivers.base.parse_duration(written)


def parse_size(written: object) -> object:
    """Turn `64MiB` or `2GB` into bytes."""
    if isinstance(written, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB)\s*", written)
        if not match:
            raise ValueError(f"{written!r} is no size; write a number and {', '.join(_BYTES)}, as in '2GiB'")
        return int(Fraction(match[1]) * _BYTES[match[2]])
    return written


def parse_path(written: object) -> object:
    """Turn text into a path; `~` is the home folder."""
    return Path(written).expanduser() if isinstance(written, str) else written


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_name(written: str) -> str:
    """Let through what can be a level of a topic, a tag, and a file name."""
    if not _NAME.fullmatch(written):
        raise ValueError(
            f"{written!r} is no name; write letters, digits, '-', '_' and '.', with a letter or digit first"
        )
    return written


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
"""A length of time, in seconds."""

Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
"""An amount of data, in bytes."""

Folder = Annotated[Path, BeforeValidator(parse_path)]
"""A folder or file."""

Name = Annotated[str, BeforeValidator(lambda written: check_name(written) if isinstance(written, str) else written)]
"""A name that is also a level of a topic."""


class MissingSecret(Exception):
    """A secret is named and is nowhere to be found."""


class Secret(Section):
    """A secret by its name, as `{secret: broker_password}`; its value is never in a file of the configuration."""

    secret: str

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:  # noqa: ANN401 - what a user wrote
        if isinstance(data, cls):
            return data
        name = data.get("secret") if isinstance(data, dict) and len(data) == 1 else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            # nothing of what is written is repeated: it may be the secret
            raise ValueError(
                "a secret is named, never written; write {secret: NAME}, with a name of letters, digits, "
                "'-', '_' and '.'"
            )
        return data

    def reveal(self) -> str:
        """Return the value.

        It comes from a file of this name (systemd credentials, /run/secrets), else from the environment
        variable LINESIDE_SECRET_<NAME>. Raises `MissingSecret`.
        """
        folders = [
            os.environ.get("CREDENTIALS_DIRECTORY"),
            os.environ.get("LINESIDE_SECRETS"),
            "/run/secrets",
        ]
        for folder in folders:
            if folder and (file := Path(folder, self.secret)).is_file():
                try:
                    return file.read_text(encoding="utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    # not chained: it quotes what it could not read
                    raise MissingSecret(f"secret {self.secret!r} can't be read: {file} is not UTF-8") from None
        variable = "LINESIDE_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", self.secret).upper()
        if variable in os.environ:
            return os.environ[variable]
        raise MissingSecret(
            f"secret {self.secret!r} is missing: put it into a file of that name in /run/secrets (or the folder "
            f"that LINESIDE_SECRETS names), or into the environment variable {variable}"
        )
