"""Names in braces, as in `holding {base+2}`: values that differ between machines of one type.

Write a name in braces, or whole numbers and names with `+ - * // %` and parentheses; `{n:02}` writes at least two
digits. Text that is nothing but one pair of braces becomes the value itself, so that a number stays one.
`{{` and `}}` are braces.
"""

from __future__ import annotations

import ast
import operator
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateway.settings.problems import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Scalar = bool | int | float | str
"""The value of a parameter."""

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""The name of a parameter."""

LITERAL = frozenset({"unit", "message"})
"""Keys in which braces are not parameters: UCUM writes counted things in braces, and a message of an alarm points."""

LONGEST = 100
"""Characters in one pair of braces."""

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def has_names(written: object) -> bool:
    """Return whether a value, or any value below it, contains braces."""
    if isinstance(written, str):
        return "{" in written or "}" in written
    below = written.values() if isinstance(written, dict) else written if isinstance(written, list) else ()
    return any(map(has_names, below))


def names_in(written: object) -> set[str]:
    """Return the names in braces in a value, or in any value below it."""
    if isinstance(written, str):
        inner = " ".join(part[1] for part in _PARTS.finditer(written) if part[1] is not None)
        return set(NAME.findall(inner))
    below = written.values() if isinstance(written, dict) else written if isinstance(written, list) else ()
    return set().union(*map(names_in, below))


def plain(written: Any) -> Any:  # noqa: ANN401 - what a user wrote
    """Return what says the same where names in braces are filled in: braces that are left are doubled.

    But for units, where braces are not filled.
    """
    if isinstance(written, str):
        return written.replace("{", "{{").replace("}", "}}") if has_names(written) else written
    if isinstance(written, dict):
        return {key: value if key in LITERAL else plain(value) for key, value in written.items()}
    return [plain(value) for value in written] if isinstance(written, list) else written


def fill(written: object, names: Mapping[str, Scalar]) -> object:
    """Replace names in braces by their values, also below a mapping or list.

    Raises `ValueError` for an unknown name and for an expression that can't be calculated.
    """
    if isinstance(written, str):
        return _text(written, names) if "{" in written or "}" in written else written
    if isinstance(written, dict):
        return {key: fill(value, names) for key, value in written.items()}
    if isinstance(written, list):
        return [fill(value, names) for value in written]
    return written


def _text(written: str, names: Mapping[str, Scalar]) -> Scalar:
    whole = _PARTS.fullmatch(written)
    if whole and whole[1] is not None:
        return _value(whole[1], names)

    def put(part: re.Match[str]) -> str:
        if part[1] is not None:
            return _shown(_value(part[1], names))
        if part[0] in {"{{", "}}"}:
            return part[0][0]
        raise ValueError(f"{written!r} has a {part[0]} without its other half; write {part[0] * 2} for the character")

    return _PARTS.sub(put, written)


def _shown(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(written: str, names: Mapping[str, Scalar]) -> Scalar:
    """Return what stands for `n`, `base+2` or `n:02`."""
    text, _, digits = written.partition(":")
    if text.strip() in names and not digits:
        return names[text.strip()]
    value = _calculate(_parsed(written, text.strip()), written, names)
    if not digits:
        return value
    if not re.fullmatch(r"0?\d", digits) or not isinstance(value, int):
        raise ValueError(_can_not_read(written))
    return f"{value:0{int(digits)}d}"


@lru_cache(maxsize=1000)
def _parsed(written: str, text: str) -> ast.expr:
    if len(written) > LONGEST:
        raise ValueError(f"more than {LONGEST} characters are in braces")
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise ValueError(_can_not_read(written)) from None


def _calculate(node: ast.expr, written: str, names: Mapping[str, Scalar]) -> Scalar:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            if name not in names:
                raise ValueError(f"in {{{written}}}: {unknown('parameter', name, names)}")
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_whole(inner, written, names)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            one, other = _whole(left, written, names), _whole(right, written, names)
            if other == 0 and isinstance(sign, ast.FloorDiv | ast.Mod):
                raise ValueError(f"{{{written}}} divides by 0")
            return _OPERATORS[type(sign)](one, other)
    raise ValueError(_can_not_read(written))


def _whole(node: ast.expr, written: str, names: Mapping[str, Scalar]) -> int:
    value = _calculate(node, written, names)
    if isinstance(value, bool) or not isinstance(value, int):
        what = f"{ast.unparse(node)} is {value!r}, and only whole numbers can be calculated with"
        raise ValueError(f"in {{{written}}}: {what}")  # noqa: TRY004 - what a user wrote
    return value


def _can_not_read(written: str) -> str:
    return (
        f"{{{written}}} can't be read; write a name, or whole numbers and names with + - * // % between them, as in "
        "{base+2}; {n:02} writes two digits, and {{ is the character"
    )
