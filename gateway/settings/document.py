"""A YAML file as plain data, with the line and column of every key and entry.

Aliases are expanded. The bytes of a file, its values after expansion and its levels are
bounded, so that no file exhausts the memory or the time of a gateway that reads its configuration again.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from drivers.regular_file import read_regular
from gateway.settings.interpolation import (
    NOT_A_VARIABLE,
    URL_MESSAGE,
    VARIABLE,
    has_variables,
    holds_secret,
    user_in_url,
    variables_of,
)
from gateway.settings.problems import ConfigurationError, Problem, Severity
from gateway.settings.scalars import resolve
from gateway.settings.yaml_errors import Mark, explained, mark_of

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from gateway.settings.interpolation import Variables

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


@dataclass(slots=True)
class Document:
    """A file's data and the place of each part of it.

    `digest` is the SHA-256 of its text, and of the values that were put in for variables; `text_digest` that of the
    text alone. `texts` are the texts of
    values that come from variables or the command line and were read as something else: a key that needs text takes
    them. `tags` are the tags that YAML itself does not define, such as `!secret`; each is a problem, too.
    """

    file: Path
    data: Any = None
    digest: str = ""
    text_digest: str = ""
    problems: list[Problem] = field(default_factory=list)
    texts: dict[tuple[Step, ...], str] = field(default_factory=dict)
    tags: dict[tuple[Step, ...], str] = field(default_factory=dict)
    _marks: dict[tuple[Step, ...], Mark] = field(default_factory=dict)
    _origins: dict[tuple[Step, ...], str] = field(default_factory=dict)
    _overridden: set[tuple[Step, ...]] = field(default_factory=set)
    _unusable: set[tuple[Step, ...]] = field(default_factory=set)

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
        """Add a problem at a place that is not that of its path, as of a key that is written twice.

        A value that comes from elsewhere is reported with its origin. Nothing more is reported of an unusable value.
        """
        if self._unusable and _first(path, self._unusable) is not None:
            return
        if self._origins and (known := _first(path, self._origins)) is not None:
            message = f"{message} (from {self._origins[known]})"
        self.problems.append(Problem(self.file, *mark, ".".join(map(str, path)), message, severity))

    def refuse(self, mark: Mark, path: tuple[Step, ...], message: str) -> None:
        """Add a problem of a value that can't be used at all, and ignore later problems of it."""
        self.report_at(mark, path, message)
        self._unusable.add(path)

    def override(self, path: tuple[Step, ...], new: tuple[Step, ...], value: Any, text: str, origin: str) -> None:  # noqa: ANN401 - what a user wrote
        """Note that a value comes from the command line; `text` is its text, `origin` names it in messages.

        `new` is the first part of the path that the file does not have.
        """
        self._forget(path)
        self._origins |= {new: origin, path: origin}
        self._overridden.add(path)
        if not isinstance(value, str | dict | list):
            self.texts[path] = text
        self._place_all(path, value, self.mark(path))

    def _forget(self, path: tuple[Step, ...]) -> None:
        """Forget the problems and origins of a replaced value and all below it."""
        self.problems = [one for one in self.problems if not _is_below(one.path, ".".join(map(str, path)))]
        for known in (self._origins, self.texts):
            for one in [one for one in known if one[: len(path)] == path]:
                del known[one]
        self._unusable = {one for one in self._unusable if one[: len(path)] != path}

    def _place_all(self, path: tuple[Step, ...], value: Any, mark: Mark) -> None:  # noqa: ANN401 - what a user wrote
        for end in range(1, len(path) + 1):
            self.place(path[:end], mark)
        below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for step, inner in below:
            self._place_all((*path, step), inner, mark)

    def folder(self, path: Sequence[Step]) -> Path:
        """Return the folder that a relative path at a place follows: that of the file, or the working folder."""
        return Path() if _first(path, self._overridden) is not None else self.file.parent

    def came_from(self, path: tuple[Step, ...], text: str, data: Any, origin: str) -> None:  # noqa: ANN401 - what a user wrote
        """Note that a value has variables, which `origin` names: it amounts to `text`, read as `data`."""
        self._origins[path] = origin
        if not isinstance(data, str):
            self.texts[path] = text

    def use_text(self, path: tuple[Step, ...]) -> str | None:
        """Let a value that was read as something else be the text that it is written as, and return that.

        None for a value that is not of variables or the command line, or is text already.
        """
        text = self.texts.get(path)
        if text is not None:
            place = self.data
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = text
        return text

    def share(self, source: tuple[Step, ...], target: tuple[Step, ...]) -> None:
        """Let an aliased value have the origin of the anchored value."""
        for known in (self._origins, self.texts):
            if source in known:
                known[target] = known[source]
        if source in self._unusable:
            self._unusable.add(target)

    @property
    def errors(self) -> bool:
        """Whether the document has a problem that is an error."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def place(self, path: tuple[Step, ...], mark: Mark) -> None:
        """Keep the place of a key or entry; the first place of a path counts."""
        self._marks.setdefault(path, mark)


def _first(path: Sequence[Step], known: Container[tuple[Step, ...]]) -> tuple[Step, ...] | None:
    """Return the longest beginning of a path that is known."""
    steps = tuple(path)
    return next((steps[:end] for end in range(len(steps), 0, -1) if steps[:end] in known), None)


def _is_below(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}.")


def read_document(file: Path, variables: Variables | None = None) -> Document:
    """Read one file; `variables` are put into its values.

    Raises `ConfigurationError` where it can't be read, is not YAML, or is too large.
    """
    text = _read_text(file)
    document = Document(file)
    replaced = _parse(document, text, variables)
    document.text_digest = sha256(text.encode()).hexdigest()
    document.digest = sha256("\0".join([text, *replaced]).encode()).hexdigest()
    return document


def parse_document(text: str, file: Path = Path()) -> Document:
    """Return text in YAML as a document, in which tags are problems. Raises `ConfigurationError`."""
    document = Document(file)
    _parse(document, text)
    return document


def _read_text(file: Path) -> str:
    """Return the text of a file. Raises `ConfigurationError`."""
    try:
        content = read_regular(file, MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a null character in a path is a ValueError
        raise _failed(file, Mark(1, 1), getattr(error, "strerror", None) or str(error)) from error
    if len(content) > MOST_BYTES:
        raise _failed(file, Mark(1, 1), f"is larger than {MOST_BYTES // 2**20} MiB; split it with include")
    if _is_utf_16(content):
        raise _failed(file, Mark(1, 1), "is UTF-16 text; save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _failed(
            file, _place_after(content[: error.start].decode()), _not_utf_8(content[error.start])
        ) from error
    if wrong := _NOT_YAML.search(text):
        name = unicodedata.name(wrong[0], "control character").lower()
        message = f"is not YAML: {name} (U+{ord(wrong[0]):04X}); remove it"
        raise _failed(file, _place_after(text[: wrong.start()]), message)
    return _lines(text)


def _is_utf_16(content: bytes) -> bool:
    """Return whether bytes are UTF-16: by their mark, or since every other byte of the beginning is 0."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    first, second = content[:200:2], content[1:200:2]
    return len(second) > 1 and any(
        not any(ours) and all(others) for ours, others in ((first, second), (second, first))
    )


def _not_utf_8(byte: int) -> str:
    """Return the message for a byte; editors of Windows save text of one byte a character."""
    character = bytes([byte]).decode("cp1252", "replace")
    likely = f" ({character} in Windows-1252 and Latin-1)" if character.isalnum() or character in "°²³µ" else ""
    return f"is not UTF-8: there is a byte 0x{byte:02X}{likely}; save the file as UTF-8"


def _lines(text: str) -> str:
    """Return a text with line feeds alone as its line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _place_after(text: str) -> Mark:
    """Return the place behind a text."""
    text = _lines(text)
    return Mark(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _failed(file: Path, mark: Mark, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(file, *mark, "", message)])


def _parse(document: Document, text: str, variables: Variables | None = None) -> list[str]:
    """Fill a document with the data of a text, and return the texts that variables are a part of.

    Raises `ConfigurationError`.
    """
    loader = None
    try:
        loader = _Loader(text)
        parser = _Parser(document, loader, variables)
        document.data = parser.parse()
    except yaml.MarkedYAMLError as error:
        mark, message = explained(error, text)
        raise _failed(document.file, mark, message) from error
    except yaml.YAMLError as error:  # without a mark
        raise _failed(document.file, Mark(1, 1), f"is not YAML: {str(error).splitlines()[0]}") from error
    except _Refused as error:
        raise ConfigurationError(
            [*document.problems, Problem(document.file, *error.mark, error.path, str(error))]
        ) from None
    finally:
        if loader is not None:
            loader.dispose()
    return parser.replaced


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
    """Builds a document's data from the events of a YAML loader. `replaced` are its texts that had variables."""

    def __init__(self, document: Document, loader: Any, variables: Variables | None) -> None:  # noqa: ANN401 - a loader of PyYAML, in C or not
        self.replaced: list[str] = []
        self._document = document
        self._variables = variables
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
            raise _Refused(mark_of(after.start_mark), "has a second document; write one in each file, without ---")
        return data

    def _value(self, event: Any, path: tuple[Step, ...]) -> Any:  # noqa: ANN401 - what a user wrote
        """Return what begins with an event."""
        mark = mark_of(event.start_mark)
        self._document.place(path, mark)
        self._count(mark, path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark, path)
        tag = event.tag
        if tag not in {None, "!"} and tag not in _KNOWN_TAGS:
            self._document.tags[path] = tag
            self._document.refuse(mark, path, _of_tag(tag, event))
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
        if self._variables is not None and "$" in text and has_variables(text):
            return self._with_variables(self._variables, text, path, mark)
        if event.style or event.tag == f"{_STANDARD_TAG}str":  # in quotes, or a block
            return text
        try:
            return resolve(text)
        except ValueError as error:
            raise _Refused(mark, str(error), path) from None

    def _with_variables(self, variables: Variables, text: str, path: tuple[Step, ...], mark: Mark) -> Any:  # noqa: ANN401 - what a user wrote
        """Return the value of a scalar with variables: the text that they amount to, read without quotes.

        Quotes do not count, because braces in a mapping of one line need them.
        """
        mark = self._document.mark(path) if self._document.has(path) else mark
        if "${" in text and (holds_secret(path) or user_in_url(text)):
            self._document.refuse(mark, path, NOT_A_VARIABLE if holds_secret(path) else URL_MESSAGE)
            return "NAME" if path[-1:] == ("secret",) else text
        try:
            found = variables.put_into(text, path)
            data = resolve(found)
        except ValueError as error:
            self._document.refuse(mark, path, str(error))
            return text
        self.replaced.append(found)
        if origin := variables_of(text):
            self._document.came_from(path, found, data, origin)
        return data

    def _mapping(self, path: tuple[Step, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: Any = None
        at_merge: Mark | None = None
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            mark = mark_of(event.start_mark)
            key = self._key(event, mark)
            if key is None:
                message = "a key is a word, not a mapping or list; put text that holds { or [ in quotes"
                self._document.report_at(mark, path, message)
                self._skip(self._next())
                continue
            here = (*path, key)
            if key == "<<":
                at_merge = mark
                merged = self._value(self._next(), here)
            elif key in data:
                message = f"is written twice; the first is in line {self._document.line(here)}; remove or rename one"
                self._document.report_at(mark, here, message)
                self._skip(self._next())
            else:
                self._document.place(here, mark)
                data[key] = self._value(self._next(), here)
        if at_merge is not None:
            self._merge(merged, data, path, at_merge)
        return data

    def _merge(self, merged: Any, data: dict[str, Any], path: tuple[Step, ...], mark: Mark) -> None:  # noqa: ANN401 - what a user wrote
        """Report a merge key, and merge: the rest of the file is checked as it was meant."""
        source = (*path, "<<")
        parts = (
            [((*source, at), one) for at, one in enumerate(merged)]
            if isinstance(merged, list)
            else [(source, merged)]
        )
        added: list[str] = []
        for above, one in parts:
            for key in [key for key in one if key not in data] if isinstance(one, dict) else ():
                added.append(key)
                data[key] = self._copy(one[key], (*above, key), (*path, key), mark)
        keys = f" here: {', '.join(added)}" if added else ""
        self._document.report_at(
            mark, path, f"merge keys (<<) are not part of YAML 1.2; write the merged keys{keys}; a template or a "
            "range of machines, as in press-{01..24}, says it once"
        )  # fmt: skip

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
        self._document.share(source, target)
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


_TAGS = {"!secret": "write {secret: NAME}", "!include": "name files with more lines under include, or a template"}
"""Tags of other programs, and what to write instead."""

_OF_ENVIRONMENT = frozenset({"!env", "!env_var", "!ENV"})


def _of_tag(tag: str, event: Any) -> str:  # noqa: ANN401 - an event of PyYAML
    """Return the message for a tag that no configuration has."""
    written = tag.replace(_STANDARD_TAG, "!!")
    hint = _TAGS.get(tag, "remove it")
    if tag in _OF_ENVIRONMENT:
        value = event.value if isinstance(event, yaml.ScalarEvent) else ""
        hint = f"write ${{{value if VARIABLE.fullmatch(value) else 'NAME'}}}"
    return f"the tag {written} means nothing here; {hint}"


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
