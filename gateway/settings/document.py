"""A YAML file as plain data, with the line and column of every key and entry.

YAML 1.2 core schema: `no`, `on` and `012` are text, text and 12, as they look. PyYAML reads the syntax, which
is the fast and well-kept part; what a plain scalar means is decided here, since PyYAML follows YAML 1.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import yaml

from gateway.settings.problems import ConfigurationError, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORMAT = 1
"""The format of configuration that this version reads."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times as fast, and not everywhere


class Number(int):
    """A whole number that keeps how it was written, since `00011` and `0x1F` say more than 11 and 31 to some."""

    text: str

    def __new__(cls, text: str, value: int) -> Self:
        """Keep `text` beside the value that it has."""
        number = super().__new__(cls, value)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


Step = str | int
"""One step into a document: a key, or an index."""

_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"0|-?[1-9][0-9]*"), int),
    (re.compile(r"[-+]?[0-9]+"), lambda text: Number(text, int(text))),
    (re.compile(r"0o[0-7]+"), lambda text: Number(text, int(text, 8))),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: Number(text, int(text, 16))),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: float("nan")),
)
"""YAML 1.2.2, clause 10.3.2: which plain scalars are not text."""


class Mark(NamedTuple):
    """A place in a file. Lines and columns count from 1."""

    line: int
    column: int


def _mark(mark: yaml.Mark | None) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


@dataclass(slots=True)
class Document:
    """A file's data and where each part of it stands; `digest` is the SHA-256 of its text."""

    file: Path
    data: Any = None
    digest: str = ""
    problems: list[Problem] = field(default_factory=list)
    _marks: dict[tuple[Step, ...], Mark] = field(default_factory=dict)

    def has(self, path: Sequence[Step]) -> bool:
        """Return whether the file has this key or entry."""
        return tuple(path) in self._marks

    def mark(self, path: Sequence[Step]) -> Mark:
        """Return where the deepest part of `path` stands that the file has."""
        steps = tuple(path)
        while steps and steps not in self._marks:
            steps = steps[:-1]
        return self._marks.get(steps, Mark(1, 1))

    def line(self, path: Sequence[Step]) -> int:
        """Return the line of the deepest part of `path` that the file has."""
        return self.mark(path).line

    def report(self, path: Sequence[Step], message: str, severity: Severity = Severity.ERROR) -> None:
        """Note a problem at `path`."""
        self.report_at(self.mark(path), path, message, severity)

    def report_at(self, mark: Mark, path: Sequence[Step], message: str, severity: Severity = Severity.ERROR) -> None:
        """Note a problem at a place that is not that of its path, as of a key that is written twice."""
        self.problems.append(Problem(self.file, *mark, ".".join(map(str, path)), message, severity))

    @property
    def errors(self) -> bool:
        """Whether anything is wrong for sure."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def place(self, path: Sequence[Step], mark: yaml.Mark) -> Mark:
        """Learn where a key or entry stands; what was learnt first stays."""
        return self._marks.setdefault(tuple(path), _mark(mark))


def read_document(file: Path) -> Document:
    """Read one file. Raises `ConfigurationError` where it can't be read or is no YAML."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([Problem(file, 1, 1, "", error.strerror or str(error))]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([Problem(file, 1, 1, "", f"is not UTF-8: {error.reason}")]) from error
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark)
        if mark.line > (lines := max(1, len(text.splitlines()))):  # what is missing is missed behind the end
            mark = Mark(lines, 1)
        raise ConfigurationError([Problem(file, *mark, "", _no_yaml(error))]) from error
    except yaml.YAMLError as error:  # characters that YAML forbids have no mark
        raise ConfigurationError([Problem(file, 1, 1, "", f"is no YAML: {str(error).splitlines()[0]}")]) from error
    finally:
        if loader is not None:
            loader.dispose()
    document = Document(file, digest=sha256(text.encode()).hexdigest())
    if node is not None:
        document.data = _build(document, node, ())
    return document


def _no_yaml(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    hint = ""
    if "cannot start any token" in problem:
        hint = "; indent with spaces, not with tabs, and put text that begins with @ or ` in quotes"
    elif "flow mapping" in (error.context or "") or "did not find expected ',' or" in problem:
        hint = "; put text that holds { } [ ] or a comma in quotes"
    elif "mapping values are not allowed" in problem:
        hint = "; put text that holds a colon and a blank in quotes"
    return f"is no YAML: {problem}{hint}"


def read_text(text: str) -> Any:  # noqa: ANN401 - what a user wrote
    """Return what a piece of YAML is worth, as in a cell of a table. Raises `ValueError` for what is none."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is no YAML: {str(error).splitlines()[0]}") from None
    document = Document(Path())
    data = None if node is None else _build(document, node, ())
    if document.problems:
        raise ValueError(f"{text!r}: {document.problems[0].message}")
    return data


def right_format(document: Document) -> bool:
    """Return whether this is a file that this version reads, after reporting why it is not."""
    if not isinstance(document.data, dict):
        document.report((), "is empty" if document.data is None else "is no mapping of keys to values")
        return False
    found = document.data.get("format")
    is_it = type(found) is int and found == FORMAT  # true is 1 to Python
    if found is None:
        document.report((), f"format is missing; write format: {FORMAT} at the top")
    elif not is_it:
        document.report(
            ("format",),
            f"this is format {found!r}, and this version of Lineside reads format {FORMAT}; "
            "install the version that the file was written for, or rewrite the file",
        )
    return is_it


def _build(document: Document, node: yaml.Node, path: tuple[Step, ...], above: tuple[yaml.Node, ...] = ()) -> Any:  # noqa: ANN401 - what a user wrote
    document.place(path, node.start_mark)
    if node in above:
        document.report(path, "holds itself, by an alias")
        return None
    above = (*above, node)
    if node.tag.startswith("!"):
        document.report(path, f"the tag {node.tag} means nothing here")
    if isinstance(node, yaml.MappingNode):
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                message = "a key is a word, not a mapping or list; put text that holds { or [ in quotes"
                document.report_at(_mark(key_node.start_mark), path, message)
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in data:
                message = f"is written twice; the first is in line {document.line(here)}"
                document.report_at(_mark(key_node.start_mark), here, message)
                continue
            document.place(here, key_node.start_mark)
            data[key] = _build(document, value_node, here, above)
        return data
    if isinstance(node, yaml.SequenceNode):
        return [_build(document, item, (*path, index), above) for index, item in enumerate(node.value)]
    return _scalar(node)


def is_text(text: str) -> bool:
    """Return whether a plain scalar of these characters would be text."""
    return not any(pattern.fullmatch(text) for pattern, _ in _CORE)


def _scalar(node: yaml.Node) -> Any:  # noqa: ANN401 - what a user wrote
    text = str(node.value)
    if not getattr(node, "style", None):  # neither quoted nor a block
        for pattern, convert in _CORE:
            if pattern.fullmatch(text):
                return convert(text)
    return text
