"""A YAML file as plain data, with the line and column of every key and entry.

Aliases are expanded. The bytes of a file, its values after expansion and its levels are
bounded, so that no file exhausts the memory or the time of a gateway that reads its configuration again.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from gateway.settings.problems import ConfigurationError, Problem, Severity
from gateway.settings.scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT = 1
"""The format of configuration that this version reads."""

MOST_BYTES = 32 * 2**20
"""The size of a file."""

MOST_NODES = 1_000_000
"""Values of a file, those that aliases stand for included."""

MOST_COPIES = 100_000
"""Values that the aliases of a file stand for."""

MOST_LEVELS = 64
"""Mappings and lists in each other."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times as fast, and not everywhere

_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A character that YAML 1.2.2 forbids (clause 5.1)."""

_STANDARD_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset(f"{_STANDARD_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map"))

Step = str | int
"""One step into a document: a key, or an index."""


class Mark(NamedTuple):
    """A place in a file. Lines and columns count from 1."""

    line: int
    column: int


def _mark(mark: yaml.Mark | None) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


@dataclass(slots=True)
class Document:
    """A file's data and the place of each part of it; `digest` is the SHA-256 of its text.

    `tags` are the tags that YAML itself does not define, such as `!secret`; each is a problem, too.
    """

    file: Path
    data: Any = None
    digest: str = ""
    problems: list[Problem] = field(default_factory=list)
    tags: dict[tuple[Step, ...], str] = field(default_factory=dict)
    _marks: dict[tuple[Step, ...], Mark] = field(default_factory=dict)

    def has(self, path: Sequence[Step]) -> bool:
        """Return whether the file has this key or entry."""
        return tuple(path) in self._marks

    def mark(self, path: Sequence[Step]) -> Mark:
        """Return the place of the deepest part of `path` that the file has."""
        steps = tuple(path)
        while steps and steps not in self._marks:
            steps = steps[:-1]
        return self._marks.get(steps, Mark(1, 1))

    def line(self, path: Sequence[Step]) -> int:
        """Return the line of the deepest part of `path` that the file has."""
        return self.mark(path).line

    def report(self, path: Sequence[Step], message: str, severity: Severity = Severity.ERROR) -> None:
        """Add a problem at `path`."""
        self.report_at(self.mark(path), path, message, severity)

    def report_at(self, mark: Mark, path: Sequence[Step], message: str, severity: Severity = Severity.ERROR) -> None:
        """Add a problem at a place that is not that of its path, as of a key that is written twice."""
        self.problems.append(Problem(self.file, *mark, ".".join(map(str, path)), message, severity))

    @property
    def errors(self) -> bool:
        """Whether the document has a problem that is an error."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def place(self, path: tuple[Step, ...], mark: Mark) -> None:
        """Keep the place of a key or entry; the first place of a path counts."""
        self._marks.setdefault(path, mark)


def read_document(file: Path) -> Document:
    """Read one file. Raises `ConfigurationError` where it can't be read, is not YAML, or is too large."""
    text = _read_text(file)
    document = Document(file, digest=sha256(text.encode()).hexdigest())
    _parse(document, text)
    return document


def parse_document(text: str, file: Path = Path()) -> Document:
    """Return text in YAML as a document, in which tags are problems. Raises `ConfigurationError`."""
    document = Document(file)
    _parse(document, text)
    return document


def _read_text(file: Path) -> str:
    """Return the text of a file. Raises `ConfigurationError`."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a null character in a path is a ValueError
        raise _failed(file, Mark(1, 1), getattr(error, "strerror", None) or str(error)) from error
    if len(content) > MOST_BYTES:
        raise _failed(file, Mark(1, 1), f"is larger than {MOST_BYTES // 2**20} MiB; split it with include")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        hint = ""
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            hint = "; it begins as UTF-16 does: save it as UTF-8"
        raise _failed(file, _place_after(before), f"is not UTF-8: {error.reason}{hint}") from error
    if wrong := _NOT_YAML.search(text):
        name = unicodedata.name(wrong[0], "control character").lower()
        message = f"is not YAML: {name} (U+{ord(wrong[0]):04X}); remove it"
        raise _failed(file, _place_after(text[: wrong.start()]), message)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _place_after(text: str) -> Mark:
    """Return the place behind a text."""
    return Mark(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _failed(file: Path, mark: Mark, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(file, *mark, "", message)])


def _parse(document: Document, text: str) -> None:
    """Fill a document with the data of a text. Raises `ConfigurationError`."""
    loader = None
    try:
        loader = _Loader(text)
        document.data = _Parser(document, loader).parse()
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark)
        if mark.line > (lines := max(1, len(text.splitlines()))):  # PyYAML reports a missing token behind the end
            mark = Mark(lines, 1)
        raise _failed(document.file, mark, _not_yaml(error, text)) from error
    except yaml.YAMLError as error:  # without a mark
        raise _failed(document.file, Mark(1, 1), f"is not YAML: {str(error).splitlines()[0]}") from error
    except _Refused as error:
        raise ConfigurationError(
            [*document.problems, Problem(document.file, *error.mark, error.path, str(error))]
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


def _not_yaml(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = error.problem or ""
    hint = ""
    if "cannot start any token" in problem:
        mark = _mark(error.problem_mark)
        found = text.splitlines()[mark.line - 1][mark.column - 1 :][:1]
        hint = f"; put text that begins with {found} in quotes, as in '{found}'"
        if found == "\t":
            hint = "; indent with spaces, not with tabs"
    elif "flow mapping" in (error.context or "") or "did not find expected ',' or" in problem:
        hint = "; put text that holds { } [ ] or a comma in quotes"
    elif "mapping values are not allowed" in problem:
        hint = "; put text that holds a colon and a blank in quotes"
    return f"is not YAML: {problem}{hint}"


class _Refused(Exception):
    """A file goes beyond a limit, or has a form that configurations don't have: nothing more of it is read."""

    def __init__(self, mark: Mark, message: str, path: Sequence[Step] = ()) -> None:
        self.mark, self.path = mark, ".".join(map(str, path))
        super().__init__(message)


class _Anchor(NamedTuple):
    """The path and the data of an anchor; `text` is that of a scalar, None for mappings and lists."""

    path: tuple[Step, ...]
    data: Any
    text: str | None


class _Parser:
    """Builds a document's data from the events of a YAML loader."""

    def __init__(self, document: Document, loader: Any) -> None:  # noqa: ANN401 - a loader of PyYAML, in C or not
        self._document = document
        self._next = loader.get_event
        self._anchors: dict[str, _Anchor | None] = {}  # None while its data is being built
        self._nodes = 0
        self._copies = 0

    def parse(self) -> Any:  # noqa: ANN401 - what a user wrote
        """Return the data of the only document. Raises `_Refused` and `yaml.YAMLError`."""
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        data = self._value(self._next(), ())
        self._next()  # the document's end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Refused(_mark(after.start_mark), "has a second document; write one in each file, without ---")
        return data

    def _value(self, event: Any, path: tuple[Step, ...]) -> Any:  # noqa: ANN401 - what a user wrote
        """Return what begins with an event."""
        mark = _mark(event.start_mark)
        self._document.place(path, mark)
        self._count(mark, path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark, path)
        tag = event.tag
        if tag not in {None, "!"} and tag not in _KNOWN_TAGS:
            self._document.tags[path] = tag
            self._document.report_at(mark, path, f"the tag {tag.replace(_STANDARD_TAG, '!!')} means nothing here")
        name = event.anchor
        if name is not None:
            self._anchors[name] = None
        text: str | None = None
        data: Any
        if isinstance(event, yaml.ScalarEvent):
            text = str(event.value)
            data = self._scalar(event, path, mark)
        elif isinstance(event, yaml.SequenceStartEvent):
            data = []
            while not isinstance(event := self._next(), yaml.SequenceEndEvent):
                data.append(self._value(event, (*path, len(data))))
        else:
            data = self._mapping(path)
        if name is not None:
            self._anchors[name] = _Anchor(path, data, text)
        return data

    def _scalar(self, event: Any, path: tuple[Step, ...], mark: Mark) -> Any:  # noqa: ANN401 - what a user wrote
        text = str(event.value)
        if event.style or event.tag == f"{_STANDARD_TAG}str":  # in quotes, or a block
            return text
        try:
            return resolve(text)
        except ValueError as error:
            raise _Refused(mark, str(error), path) from None

    def _mapping(self, path: tuple[Step, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: Any = None
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            mark = _mark(event.start_mark)
            key = self._key(event, mark)
            if key is None:
                message = "a key is a word, not a mapping or list; put text that holds { or [ in quotes"
                self._document.report_at(mark, path, message)
                self._skip(self._next())
                continue
            here = (*path, key)
            if key == "<<":
                message = "merge keys (<<) are not part of YAML 1.2; write the keys, or a template"
                self._document.report_at(mark, path, message)
                merged = self._value(self._next(), here)
            elif key in data:
                message = f"is written twice; the first is in line {self._document.line(here)}"
                self._document.report_at(mark, here, message)
                self._skip(self._next())
            else:
                self._document.place(here, mark)
                data[key] = self._value(self._next(), here)
        if isinstance(merged, dict):  # the rest of the file is checked as it was meant
            source = (*path, "<<")
            mark = self._document.mark(source)
            for key in [key for key in merged if key not in data]:
                data[key] = self._copy(merged[key], (*source, key), (*path, key), mark)
        return data

    def _key(self, event: Any, mark: Mark) -> str | None:  # noqa: ANN401 - an event of PyYAML
        """Return a key, None for one that is not a word."""
        if isinstance(event, yaml.AliasEvent):
            anchor = self._anchor(str(event.anchor), mark)
            return None if anchor is None else anchor.text
        if isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchor((), event.value, event.value)
            return str(event.value)
        self._skip(event)
        return None

    def _skip(self, event: Any) -> None:  # noqa: ANN401 - an event of PyYAML
        """Read over what begins with an event."""
        level = 0
        while True:
            if getattr(event, "anchor", None) is not None and not isinstance(event, yaml.AliasEvent):
                self._anchors[event.anchor] = _Anchor((), None, "")
            if isinstance(event, yaml.CollectionStartEvent):
                level += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                level -= 1
            if level == 0:
                return
            event = self._next()

    def _anchor(self, name: str, mark: Mark) -> _Anchor | None:
        """Return the anchor of an alias, None inside the anchored value itself. Raises `_Refused`."""
        if name not in self._anchors:
            raise _Refused(mark, f"is not YAML: the alias *{name} has no anchor &{name} before it")
        return self._anchors[name]

    def _alias(self, name: str, mark: Mark, path: tuple[Step, ...]) -> Any:  # noqa: ANN401 - what a user wrote
        anchor = self._anchor(name, mark)
        if anchor is None:
            self._document.report_at(mark, path, f"contains itself, by the alias *{name}")
            return None
        return self._copy(anchor.data, anchor.path, path, mark)

    def _copy(self, data: Any, source: tuple[Step, ...], target: tuple[Step, ...], mark: Mark) -> Any:  # noqa: ANN401 - what a user wrote
        """Return a copy of anchored data for the place of its alias; each part keeps its own mark."""
        self._count(mark, target)
        self._copies += 1
        if self._copies > MOST_COPIES:
            raise _Refused(mark, f"the aliases of this file stand for more than {MOST_COPIES:,} values")
        self._document.place(target, self._document.mark(source))
        if isinstance(data, dict):
            return {key: self._copy(value, (*source, key), (*target, key), mark) for key, value in data.items()}
        if isinstance(data, list):
            return [self._copy(value, (*source, i), (*target, i), mark) for i, value in enumerate(data)]
        return data

    def _count(self, mark: Mark, path: tuple[Step, ...]) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise _Refused(mark, f"has more than {MOST_NODES:,} values; split it with include")
        if len(path) > MOST_LEVELS:
            raise _Refused(mark, f"is nested deeper than {MOST_LEVELS} levels")


def read_text(text: str) -> Any:  # noqa: ANN401 - what a user wrote
    """Return the value of a piece of YAML, as in a cell of a table. Raises `ValueError` if it is not YAML."""
    document = Document(Path())
    try:
        _parse(document, text)
    except ConfigurationError as error:
        document.problems = error.problems
    if document.problems:
        raise ValueError(f"{text!r}: {document.problems[0].message}")
    return document.data


def right_format(document: Document) -> bool:
    """Return whether this is a file that this version reads; reports why it is not."""
    if not isinstance(document.data, dict):
        message = "is empty" if document.data is None else "is not a mapping of keys to values"
        document.report((), message)
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
