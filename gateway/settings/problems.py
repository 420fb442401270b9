"""The problems of a configuration: all at once, each with its place."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


LONGEST_PATH, LONGEST_MESSAGE = 300, 1500
"""Characters of a problem that are shown, because a problem repeats text of the file."""


CLOSE = 0.6
"""How similar a name must be to be suggested in place of another, from 0 to 1."""


class Severity(StrEnum):
    """Whether a configuration can be used in spite of a problem."""

    ERROR = "error"
    WARNING = "warning"


class Problem(NamedTuple):
    """One mistake, as `file:line:column: path: message`. Lines and columns count from 1.

    A warning names a value that is allowed and rarely intended.
    """

    file: Path
    line: int
    column: int
    path: str
    message: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        kind = "" if self.severity is Severity.ERROR else f"{self.severity}: "
        return f"{printable(str(self.file))}:{self.line}:{self.column}: {kind}{self.text}"

    @property
    def text(self) -> str:
        """The path and the message, in one line."""
        path = f"{_cut(self.path, LONGEST_PATH)}: " if self.path else ""
        return printable(f"{path}{_cut(self.message, LONGEST_MESSAGE)}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return each problem once, in the order of the files."""
    return sorted(set(problems), key=lambda problem: (str(problem.file), *problem[1:]))


class ConfigurationError(Exception):
    """The configuration is wrong; `problems` says all that is wrong with it, in the order of the files."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


_USUAL_KEYS = {
    "unit": "slave slave_id slaveid unit_id unitid device_id station uid eu units",
    "baud": "baudrate baud_rate", "stop_bits": "stopbits", "data_bits": "bytesize databits",
    "address": "register reg node node_id", "node": "address nodeid node_id register",
    "raw": "datatype data_type", "order": "byte_order word_order endianness",
    "scale": "factor multiplier gain", "every": "interval period poll poll_interval scan_rate scan_interval cycle",
    "range": "min max limits", "labels": "enum states mapping",
    "security_mode": "mode", "security": "policy security_policy",
    "username": "user login", "password": "pass pwd", "certificate": "cert certfile client_cert",
    "key": "keyfile private_key", "ca": "cafile ca_cert ca_file",
    "url": "host hostname address endpoint server uri", "folder": "path directory dir", "id": "name",
    "template": "type device", "keep_alive": "keepalive",
}  # fmt: skip

USUAL_KEYS = [(usual, key) for key, names in _USUAL_KEYS.items() for usual in names.split()]
"""The names of a key in other programs, and its name here, where the section has that key."""


def unknown(what: str, written: str, valid: Iterable[str], of: str = "") -> str:
    """Return the message for a name that does not exist, with the likely one, else with all there are.

    `of` follows the name, as in ` of press-02`.
    """
    valid = sorted(valid)
    likely = likely_name(what, written, valid)
    hint = f"did you mean {likely!r}?" if likely else f"there are: {', '.join(valid) or 'none'}"
    return f"unknown {what} {written!r}{of}; {hint}"


def likely_name(what: str, written: str, valid: Sequence[str]) -> str | None:
    """Return the name that is likely meant, None where there is none."""
    plain = written.lower().replace("-", "_")
    usual = [key for name, key in USUAL_KEYS if name == plain and key in valid] if what == "key" else []
    close = usual or get_close_matches(written, valid, n=1, cutoff=CLOSE)
    close = close or [one for one in valid if one.lower() == plain]
    return close[0] if close else None
