"""Data of another program's file: parts of JSON or YAML that know their place, and models of their known keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.importers.content import Content
from gateway.settings.document import parse_document
from gateway.settings.problems import ConfigurationError
from gateway.settings.scalars import Number
from gateway.settings.validation import describe

if TYPE_CHECKING:
    from collections.abc import Container

    from gateway.importers.found import Import, Where
    from gateway.settings.document import Document, Step

M = TypeVar("M", bound="Foreign")

LONGEST_MESSAGE = 300
"""Characters of a message, which may repeat a value of the file."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_EMPTY: tuple[object, ...] = (None, "", [], {})


class Foreign(BaseModel):
    """The known keys of a mapping. Text that is a number can be a number, as other programs accept it.

    `apart` are keys that are read elsewhere, or that do not change readings. All other keys are noted.
    """

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        str_max_length=4096,
        populate_by_name=True,
        protected_namespaces=(),
    )
    apart: ClassVar[Container[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """A value in a file, and its place: a line if the file is YAML (`document`), else a JSON path."""

    data: Any
    path: tuple[Step, ...] = ()
    document: Document | None = None

    @property
    def where(self) -> Where:
        """The place, as a note needs it."""
        return json_path(self.path) if self.document is None else self.document.line(self.path)

    @property
    def text(self) -> str:
        """A text, nothing for another value."""
        return self.data if isinstance(self.data, str) else ""

    def at(self, *steps: Step) -> Part:
        """Return the part at some steps below; its data is None if there is none."""
        data = self.data
        for step in steps:
            if isinstance(data, dict):
                data = data.get(step)
            elif isinstance(data, list) and isinstance(step, int) and step < len(data):
                data = data[step]
            else:
                data = None
        return Part(data, (*self.path, *steps), self.document)

    def entries(self) -> list[Part]:
        """Return the entries of a list. A mapping is a list of one, and nothing is an empty list.

        Raises `ValueError` for another value.
        """
        if self.data is None:
            return []
        if isinstance(self.data, dict):
            return [self]
        if not isinstance(self.data, list):
            raise ValueError(f"{self.path[-1] if self.path else 'the file'} is not a list")  # noqa: TRY004 - of a file
        return [self.at(number) for number in range(len(self.data))]

    def items(self) -> list[tuple[str, Part]]:
        """Return the keys and values of a mapping; nothing for another value."""
        return [(key, self.at(key)) for key in self.data] if isinstance(self.data, dict) else []

    def find(self, key: str, found: Import, what: str) -> list[Part]:
        """Return the entries of the list under a key, and note a value that is not a list."""
        try:
            return self.at(key).entries()
        except ValueError as error:
            found.note(self.at(key).where, what, f"is left out: {error}")
            return []

    def inner_json(self, text: object, found: Import, what: str) -> Part | None:
        """Return the JSON that a text of a JSON file contains, None after noting that it is not JSON."""
        if isinstance(text, dict | list):
            return Part(text, self.path)
        try:
            inner = Content("", str(text).encode("utf-8", "replace"), "utf-8")
            return Part(inner.json, self.path)
        except ValueError as error:
            found.note(self.where, what, f"is left out: {error}"[:LONGEST_MESSAGE])
            return None

    def read(self, model: type[M], found: Import, what: str) -> M | None:
        """Return a mapping as a model, None after noting each of its wrong values. Unknown keys are noted."""
        if not isinstance(self.data, dict):
            found.note(self.where, what, "is left out: it is not a mapping of keys to values")
            return None
        try:
            part = model.model_validate(self.data)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                steps = [step for step in detail["loc"] if not isinstance(step, str) or step in self.data]
                key = ".".join(map(str, detail["loc"]))
                message = "is missing" if detail["type"] == "missing" else describe(detail)
                message = f"is left out: {key}: {message}"[:LONGEST_MESSAGE]
                found.note(self.at(*steps).where, what, message)
            return None
        for key, value in (part.model_extra or {}).items():
            if key not in model.apart and value not in _EMPTY:
                found.note(self.at(key).where, what, f"{key[:LONGEST_MESSAGE]} is not translated")
        return part


def json_path(steps: tuple[Step, ...]) -> str:
    """Return steps into JSON as a path: `$.nodes[0].tags[3]` (RFC 9535)."""
    return "$" + "".join(_step(step) for step in steps)


def _step(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _WORD.fullmatch(step) else f"[{step!r}]"


def json_part(content: Content) -> Part:
    """Return the data of a JSON file. Raises `ValueError`."""
    return Part(content.json)


def yaml_part(text: str) -> Part:
    """Return the data of a text in YAML, with octal numbers as in YAML 1.1. Raises `ValueError` with the line."""
    try:
        document = parse_document(text)
    except ConfigurationError as error:
        first = error.problems[0]
        raise ValueError(f"line {first.line}: {first.message}") from None
    return Part(_with_octals(document.data), (), document)


def _with_octals(data: Any) -> Any:  # noqa: ANN401 - what a file has
    """Return data whose numbers with a leading zero are octal, as most readers of YAML have them."""
    if isinstance(data, dict):
        return {key: _with_octals(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_with_octals(value) for value in data]
    if isinstance(data, Number) and re.fullmatch("0[0-7]+", data.text):
        return int(data.text, 8)
    return data


def note_yaml(whole: Part, found: Import) -> None:
    """Note the problems of a YAML file that is more than plain data: keys that are written twice."""
    if whole.document is None:
        return
    tags = {".".join(map(str, path)) for path in whole.document.tags}
    for problem in whole.document.problems:
        if problem.path not in tags and "<<" not in problem.message:  # other programs know merge keys
            found.note(problem.line, problem.path or "the file", problem.message)


def looks_like_json(content: Content) -> bool:
    """Return whether a text begins as an object or a list of JSON."""
    return content.text.lstrip()[:1] in {"{", "["}
