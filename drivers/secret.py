"""Secrets: the configuration contains their names only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, ClassVar

from pydantic import model_validator

from drivers.base import Settings
from drivers.redaction import remember
from drivers.regular_file import read_regular

MOST_BYTES = 2**16
"""Bytes of a secret: a chain of certificates with its key has less."""

OF_FOLDER = "lineside_"
"""The start of the names of credentials that systemd loads from a folder: `LoadCredential=lineside:FOLDER`."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""The pattern of a secret's name, which is also a file name."""


NOT_NAMED = (
    "a secret is named, never written; write {secret: NAME}, with a name of letters, digits, '-', '_' and '.', and "
    "put its value into the file NAME in /run/secrets or into the environment variable LINESIDE_SECRET_NAME"
)
"""The message for anything that is not a reference to a secret. It never repeats the text of the file."""


class MissingSecret(Exception):
    """A named secret was not found or can't be read."""


class Secret(Settings):
    """A secret by its name, as `{secret: broker_password}`, or by the path of its file, as `{file: /run/password}`.

    The configuration never contains its value.
    """

    one_key: ClassVar[bool] = True

    secret: str = ""
    file: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:  # noqa: ANN401 - what a user wrote
        if isinstance(data, cls):
            return data
        only = data if isinstance(data, dict) and len(data) == 1 else {}
        file = only.get("file")
        if isinstance(file, str) and file.strip():
            return data
        if "file" in only:
            raise ValueError("write the path of the secret's file, as in {file: /run/secrets/broker_password}")
        name = only.get("secret")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            # the message does not repeat the text: it may be the secret
            raise ValueError(NOT_NAMED)
        return data

    def reveal(self) -> str:
        """Return the value.

        It comes from the configured `file`; else from a file with the name of the secret (systemd credentials, also
        those of a folder, and /run/secrets), else from the environment variable LINESIDE_SECRET_<NAME>. Raises
        `MissingSecret`.

        The value is removed from all log events of this process from then on.
        """
        value = self._read()
        remember(value)
        return value

    def origin(self) -> str:
        """Return the file or the environment variable of the value: two names with one origin are one secret."""
        if self.file:
            return os.path.realpath(self.file)
        file = self._named_file()
        return self._variable() if file is None else os.path.realpath(file)

    def _variable(self) -> str:
        return "LINESIDE_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", self.secret).upper()

    def _named_file(self) -> Path | None:
        """Return the file with the name of the secret, None if there is none."""
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        places = [
            (credentials, self.secret),
            (credentials, OF_FOLDER + self.secret),
            (os.environ.get("LINESIDE_SECRETS"), self.secret),
            ("/run/secrets", self.secret),
        ]
        for folder, name in places:
            file = Path(folder or "", name)
            try:
                found = bool(folder) and file.is_file()
            except OSError:  # a folder of another user: reading the file says so
                found = True
            if found:
                return file
        return None

    def _read(self) -> str:
        file = Path(self.file) if self.file else self._named_file()
        if file is not None:
            try:
                return _content(file)
            except OSError as error:
                raise MissingSecret(f"the secret in {file} can't be read: {error.strerror}") from None
        variable = self._variable()
        if variable in os.environ:
            return os.environ[variable]
        raise MissingSecret(
            f"secret {self.secret!r} is missing: put it into a file of that name in /run/secrets (or the folder "
            f"that LINESIDE_SECRETS names), or into the environment variable {variable}"
        )


def _content(file: Path) -> str:
    """Return the content of a file without its last line end. Raises `OSError` and `MissingSecret`."""
    content = read_regular(file, MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise MissingSecret(f"the secret in {file} can't be read: it has more than {MOST_BYTES:,} bytes")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        # not chained: the error quotes a part of the secret
        raise MissingSecret(f"the secret in {file} can't be read: it is not UTF-8") from None
