"""`${NAME}` in the values of a factory's files: the value of a variable of the environment.

`${NAME:-default}` has a default for a variable that is not set, or empty; `$$` is a dollar sign. A value that is put
in is never searched for another `${NAME}`, and never for names in braces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.settings.parameters import LITERAL, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.settings.document import Step

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""The name of a variable (POSIX.1, clause 8.1)."""

LONGEST_VALUE, MOST_CHARACTERS = 4096, 8 * 2**20
"""Characters of one variable's value, and of all values that are put into the files of a factory."""

SECRETS = frozenset({"password", "token", "secret", "passphrase"})
"""Keys whose value is a secret, or the name of one."""

VARIABLES_OF_SECRETS = "LINESIDE_SECRET_"
"""The beginning of the variables that hold secrets, which no other value may show."""

_PART = re.compile(r"\$\$|\$\{([^}]*)(\}?)")

_DOLLAR = re.compile(r"\$(?=[${])")

_FILLED = frozenset({"connection", "parameters", "points"})
"""Sections of a machine in which braces are names, see `parameters`."""

_MACHINE = 4
"""Steps of the path of a machine: lines, its line, machines, its name."""


class Variables:
    """The variables for the files of one factory. `values` are those of the environment."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._characters = 0

    def put_into(self, text: str, path: Sequence[Step]) -> str:
        """Return a text with the values of its variables.

        `path` is the place of the text: where braces are names, braces of a value are doubled. Raises `ValueError`.
        """
        literal = (
            len(path) > _MACHINE and path[0] == "lines" and path[_MACHINE] in _FILLED and path[-1] not in LITERAL
        )

        def value(part: re.Match[str]) -> str:
            if part[1] is None:
                return "$"
            found = self._value(part[0], part[1], closed=bool(part[2]))
            self._characters += len(found)
            if self._characters > MOST_CHARACTERS:
                raise ValueError(f"the variables of this factory have more than {MOST_CHARACTERS:,} characters")
            return str(plain(found)) if literal else found

        return _PART.sub(value, text)

    def _value(self, written: str, inner: str, *, closed: bool) -> str:
        """Return the value for `NAME` or `NAME:-default`. Raises `ValueError`."""
        name, default_follows, default = inner.partition(":-")
        if not closed:
            raise ValueError(f"{written!r} has no end; write ${{NAME}}, or $${{ for the characters")
        if "${" in inner:
            raise ValueError(
                f"{written!r} has a variable inside another; write ${{NAME:-default}} with a plain default"
            )
        if not VARIABLE.fullmatch(name):
            raise ValueError(
                f"{written!r} is not a variable; write ${{NAME}} or ${{NAME:-default}}, with a name of letters, "
                "digits and '_', or $${ for the characters"
            )
        if name.startswith(VARIABLES_OF_SECRETS):
            raise ValueError(NOT_A_VARIABLE)
        found = self._values.get(name)
        if found is None and not default_follows:
            raise ValueError(
                f"the environment variable {name} is not set; set it, or write a default, as in ${{{name}:-VALUE}}"
            )
        if default_follows and not found:
            return default
        found = found or ""
        if len(found) > LONGEST_VALUE:
            raise ValueError(f"${{{name}}} has {len(found):,} characters; the limit is {LONGEST_VALUE:,}")
        if not found.isprintable():
            raise ValueError(f"${{{name}}} has a line end or another control character; write its value in one line")
        return found


def has_variables(text: str) -> bool:
    """Return whether a text has something that is replaced: a variable, or `$$`."""
    return "${" in text or "$$" in text


def variables_of(text: str) -> str:
    """Return the variables of a text, for a message: `${LINE}, ${EDGE_ID}`."""
    names = dict.fromkeys(match[1].partition(":-")[0] for match in _PART.finditer(text) if match[1])
    return ", ".join(f"${{{name}}}" for name in names)


def holds_secret(path: Sequence[Step]) -> bool:
    """Return whether the value at a path is a secret, or names one."""
    return bool(path) and path[-1] in SECRETS


NOT_A_VARIABLE = (
    "a secret is never read with ${...}; write {secret: NAME}: its value is in the file NAME in /run/secrets, or in "
    "the environment variable LINESIDE_SECRET_NAME"
)
"""The message for a variable in place of a secret."""

URL_MESSAGE = "a URL has no user or password; write username, and password: {secret: NAME}, beside the url"

_USER_IN_URL = re.compile(r"://[^/?#]*\$\{[^}]*\}[^/?#]*@|://[^/?#]*@[^/?#]*\$\{")


def user_in_url(text: str) -> bool:
    """Return whether a text is a URL with a user, and a variable in its user or host."""
    return _USER_IN_URL.search(text) is not None


def escaped(written: Any) -> Any:  # noqa: ANN401 - any plain data
    """Return data that says the same after variables are put in: `$` is doubled where it begins one."""
    if isinstance(written, str):
        return _DOLLAR.sub("$$", written) if "$" in written else written
    if isinstance(written, dict):
        return {key: escaped(value) for key, value in written.items()}
    return [escaped(value) for value in written] if isinstance(written, list) else written
