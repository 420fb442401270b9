"""Parses the address of a node: a node id, or a path of browse names."""

from __future__ import annotations

import re
from typing import NamedTuple

Namespace = str | int | None
"""A namespace by its URI, by its index, or the connection's own (None)."""


class Node(NamedTuple):
    """A node id (Part 6, 5.3.1.10) whose namespace is a URI, an index, or the connection's own (None)."""

    namespace: Namespace
    identifier: str

    def __str__(self) -> str:
        return f"{_prefix(self.namespace)}{self.identifier}"


class Step(NamedTuple):
    """One browse name of a path."""

    namespace: Namespace
    name: str


class BrowsePath(NamedTuple):
    """Browse names from the Objects folder on, along hierarchical references."""

    steps: tuple[Step, ...]

    @property
    def identifier(self) -> str:
        """The names of the path, as in `Press/Drum/Speed`."""
        return "/".join(step.name for step in self.steps)

    def __str__(self) -> str:
        return "".join(f"/{_step(step)}" for step in self.steps)


def _prefix(namespace: Namespace) -> str:
    if namespace is None:
        return ""
    return f"{'ns' if isinstance(namespace, int) else 'nsu'}={namespace};"


def _step(step: Step) -> str:
    name = step.name.replace("&", "&&").replace("/", "&/")
    if step.namespace is None:
        return name
    return f"{step.namespace}:{name}" if isinstance(step.namespace, int) else f"{{{step.namespace}}}{name}"


_ID = re.compile(r"(?:nsu=(?P<uri>[^;]+);|ns=(?P<index>\d+);)?(?P<id>[sigb]=.+)")
_STEPS = re.compile(r"/((?:\{[^}]*\})?(?:&.|[^/&])*)", re.DOTALL)  # a namespace may contain "/"
_STEP = re.compile(r"(?:\{(?P<uri>[^}]+)\}|(?P<index>\d+):)?(?P<name>.+)", re.DOTALL)


def parse_node(written: object) -> object:
    """Parse `nsu=urn:press;s=Drum.Speed`, `ns=2;i=17`, `s=Drum.Speed` or `/Press/2:Drum/{urn:x}Speed`.

    In a path `&` escapes the next `/` or `&` (Part 4, A.2). A value that is not text is returned as it is.
    """
    if not isinstance(written, str):
        return written
    text = written.strip()
    if text.startswith("/"):
        return BrowsePath(tuple(_parse_step(one, written) for one in _STEPS.findall(text)))
    match = _ID.fullmatch(text)
    if not match or (match["id"].startswith("i=") and not match["id"][2:].isdigit()):
        if (likely := _likely(text)) is not None:
            raise ValueError(f"{written!r} is not a node id; {likely}")
        raise ValueError(
            f"{written!r} is not a node id; write 'nsu=URI;s=NAME', 'ns=INDEX;i=NUMBER', or 's=NAME' in the "
            "namespace that the connection names; or a path of browse names, '/Press/Drum/Speed'"
        )
    return Node(int(match["index"]) if match["index"] else match["uri"], match["id"])


def _likely(text: str) -> str | None:
    """Return what to write instead of a text that is not a node id, None where that is not certain."""
    if "=" not in text:
        steps = text.removeprefix("Root/").removeprefix("Objects/")
        return f"did you mean the path {f'/{steps}'!r}?" if "/" in steps else f"did you mean {f's={text}'!r}?"
    if re.match(r"ns=[^;]*;", text) and not re.match(r"ns=\d+;", text):
        return "ns= has the number of a namespace; with its URI write nsu=URI"
    if re.search(r"(^|;)i=(?!\d+$)", text):
        return "i= has a number, as in 'ns=2;i=17'; write s= for a name"
    return None


def _parse_step(written: str, whole: str) -> Step:
    match = _STEP.fullmatch(written)
    if not match:
        raise ValueError(f"{whole!r} has an empty step; write the browse names from Objects on: '/Press/Drum/Speed'")
    name = re.sub(r"&(.)", r"\1", match["name"], flags=re.DOTALL)
    return Step(int(match["index"]) if match["index"] else match["uri"], name)
