"""What is said of every key of the configuration, where its field is declared: a text, and examples.

The text is the string below a field. What stands in backquotes behind "as in" are examples, as they stand in YAML.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.settings.document import read_text

if TYPE_CHECKING:
    from pydantic import BaseModel


class Said(NamedTuple):
    """A key's description, without its examples, and those."""

    description: str
    examples: list[Any]


@cache
def said_of(model: type[BaseModel]) -> dict[str, Said]:
    """Return what is said of each field of a model, or of the models that it extends."""
    found: dict[str, Said] = {}
    for one in reversed(model.__mro__):
        if one.__module__.startswith("pydantic") or "__annotations__" not in vars(one):
            continue
        [node] = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        body = node.body if isinstance(node, ast.ClassDef) else []
        for field, text in pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(written))):
                    found[name] = _said(" ".join(written.split()))
    return found


def _said(text: str) -> Said:
    description, _, examples = text.partition(" as in `")
    if not examples:
        return Said(text, [])
    written = re.split(r"` or `", examples.rstrip(".").removesuffix("`"))
    return Said(description.rstrip(",") + ".", [read_text(one) for one in written])
