"""Remove secrets from texts that leave the plant: those of the configuration by value, others by their form."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.redaction import HIDDEN, redact, remember
from drivers.secret import MissingSecret
from gateway.settings.contents import secrets_of

if TYPE_CHECKING:
    from gateway.settings.factory import Factory

MAX_SECRET = 4096
"""Bytes of the largest file that is looked at as a secret."""

MAX_FILES = 500
"""Files of one folder of secrets that are looked at."""

_VARIABLE = re.compile(r"LINESIDE_SECRET_|PASSWORD|PASSWD|TOKEN|SECRET|API_?KEY", re.IGNORECASE)
"""Names of environment variables whose values are secrets; those that name a folder or file are paths."""

_FORMS = (
    # the user and the password of a URL
    (re.compile(r"(?<=://)[^/\s@\"']+@"), f"{HIDDEN}@"),
    # a parameter of a URL, a header, a field of JSON or YAML; `{secret: NAME}` is a name and stays
    (
        re.compile(
            r"(?i)((?:password|passwd|pwd|token|api[_-]?key|authorization)[\"']?[ \t]*[=:][ \t]*[\"']?)"
            r"(?:(?:basic|bearer|token) +)?[^\s\"'&,;{}\[\]]+"
        ),
        rf"\g<1>{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(basic|bearer) [a-z0-9+/_.=-]{8,}"), rf"\g<1> {HIDDEN}"),
    # a private key, also one whose end is missing
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-(?!----)[^-]*)*(?:-----END [A-Z ]*KEY-----)?"), HIDDEN),
)


def remember_secrets(factory: Factory | None) -> None:
    """Note all secrets that a configuration names, and all in the environment and in the folders of secrets."""
    for secret in secrets_of(factory) if factory is not None else ():
        with suppress(MissingSecret):
            secret.reveal()
    for name, value in os.environ.items():
        if _VARIABLE.search(name) and not value.startswith("/"):
            remember(value)
    for folder in (os.environ.get("CREDENTIALS_DIRECTORY"), os.environ.get("LINESIDE_SECRETS"), "/run/secrets"):
        if folder:
            _remember_files(Path(folder))


def _remember_files(folder: Path) -> None:
    with suppress(OSError):
        for file in sorted(folder.iterdir())[:MAX_FILES]:
            with suppress(OSError, UnicodeDecodeError):
                if file.is_file() and file.stat().st_size <= MAX_SECRET:
                    remember(file.read_text(encoding="utf-8").rstrip("\r\n"))


def scrub(text: str) -> str:
    """Return a text without secrets: the noted values, and everything that has the form of a password."""
    text = redact(text)
    for pattern, replacement in _FORMS:
        text = pattern.sub(replacement, text)
    return text
