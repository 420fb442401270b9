"""Secrets: named in the configuration, kept outside of it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import model_validator

from drivers.base import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What can be the name of a secret: it is the name of a file."""


class MissingSecret(Exception):
    """A secret is named and is nowhere to be found."""


class Secret(Settings):
    """A secret by its name, as `{secret: broker_password}`; its value is never in a file of the configuration."""

    secret: str

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:  # noqa: ANN401 - what a user wrote
        if isinstance(data, cls):
            return data
        name = data.get("secret") if isinstance(data, dict) and len(data) == 1 else None
        if not isinstance(name, str) or not NAME.fullmatch(name):
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
