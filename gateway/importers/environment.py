"""Variables of the environment in files of other programs, which stay variables: `${NAME}`, `${NAME:-default}`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from gateway.settings.document import parse_document
from gateway.settings.interpolation import escaped
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MOST_BYTES = 2**20
"""The size of a file with values."""

ASSUMED, ASSUMED_HOST = "1", "host"
"""Values with which an address is checked: a port, a unit or a number of seconds, and a host."""

VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}")
"""A variable as it is written here."""

_FOREIGN = re.compile(
    r"\$\$|\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<sign>:?[-?+])(?P<default>[^{}\n]*))?\})"
)
_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>.*)")


def read_values(file: Path) -> dict[str, str]:
    """Return the variables of a file with lines `NAME=value`, or of a YAML file with `NAME: value`.

    Raises `ValueError` and `OSError`.
    """
    with file.open("rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{file}: is larger than {MOST_BYTES // 2**20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{file}: is not UTF-8") from None
    if file.suffix in {".yaml", ".yml"}:
        return _yaml_values(file, text)
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"{file}:{number}: is not a line NAME=value")
        value = match["value"].strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        values[match["name"]] = value[1:-1] if quoted else value
    return values


def _yaml_values(file: Path, text: str) -> dict[str, str]:
    try:
        document = parse_document(text, file)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    found = document.data if isinstance(document.data, dict) else {}
    return {name: str(value) for name, value in found.items() if isinstance(value, str | int | float)}


def substituted(text: str, values: Mapping[str, str] | None) -> str:
    """Return a text in TOML with its variables filled in, or in the form that they have here.

    `values` are those of a file, None without one; with them, defaults are filled in. Without them, a default is
    filled in where a text is not in quotes. Raises `ValueError` for a variable that is not in quotes and has none:
    the text is not TOML then.
    """
    lines = text.split("\n")
    return "\n".join(_line(line, number, values) if "$" in line else line for number, line in enumerate(lines, 1))


def _line(line: str, number: int, values: Mapping[str, str] | None) -> str:
    if line.lstrip().startswith("#"):
        return line

    def fill(match: re.Match[str]) -> str:
        name = match["plain"] or match["name"]
        if name is None:  # $$
            return match[0]
        default = match["default"] if match["sign"] in {"-", ":-"} else None
        if values is not None and (value := values.get(name)):
            if not value.isprintable():
                raise ValueError(f"line {number}: the value of {name} has a control character")
            return _escaped(value) if _in_quotes(line, match.start()) else value
        if values is not None and default is not None:
            return default
        if _in_quotes(line, match.start()):
            return f"${{{name}}}" if default is None else f"${{{name}:-{default}}}"
        if default is None:
            raise ValueError(f"line {number}: ${{{name}}} is not in quotes; say --env-file with its value")
        return default

    return _FOREIGN.sub(fill, line)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _in_quotes(line: str, position: int) -> bool:
    """Return whether a character of a line is in a string, or in a comment."""
    quote = ""
    escape = False
    for character in line[:position]:
        if escape:
            escape = False
        elif quote:
            escape = character == "\\" and quote == '"'
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return True
    return bool(quote)


def with_assumed(written: Any) -> Any:  # noqa: ANN401 - any plain data
    """Return data with a value in place of each variable, to check the rest of it."""
    if isinstance(written, str):
        return VARIABLE.sub(_assumed, written)
    if isinstance(written, dict):
        return {key: with_assumed(value) for key, value in written.items()}
    return [with_assumed(value) for value in written] if isinstance(written, list) else written


def _assumed(match: re.Match[str]) -> str:
    is_host = match.string[: match.start()].endswith(("://", "@"))
    return match["default"] or (ASSUMED_HOST if is_host else ASSUMED)


def without_others(written: Any) -> Any:  # noqa: ANN401 - any plain data
    """Return data for a factory in which these are the only variables: other dollar signs are escaped."""
    if isinstance(written, str):
        parts, at = [], 0
        for match in VARIABLE.finditer(written):
            parts += [escaped(written[at : match.start()]), match[0]]
            at = match.end()
        return "".join([*parts, escaped(written[at:])])
    if isinstance(written, dict):
        return {key: without_others(value) for key, value in written.items()}
    return [without_others(value) for value in written] if isinstance(written, list) else written


def variables_of(written: Any) -> dict[str, bool]:  # noqa: ANN401 - any plain data
    """Return the variables in data, with whether they have a default."""
    if isinstance(written, str):
        return {match["name"]: match["default"] is not None for match in VARIABLE.finditer(written)}
    inner: Iterable[Any] = (
        written.values() if isinstance(written, dict) else written if isinstance(written, list) else ()
    )
    return {name: default for one in inner for name, default in variables_of(one).items()}


def unset(written: Any) -> list[str]:  # noqa: ANN401 - any plain data
    """Return the variables in data that have no default and are not set here."""
    return sorted(name for name, default in variables_of(written).items() if not default and name not in os.environ)
