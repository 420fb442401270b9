"""A factory in several files: its main file names those that hold more of its lines."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from gateway.settings.document import read_document, right_format
from gateway.settings.problems import ConfigurationError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings.document import Document, Step
    from gateway.settings.interpolation import Variables
    from gateway.settings.problems import Problem

LONGEST_PATTERN, MOST_FILES = 255, 1000
"""Characters of a pattern, and files that it may match."""

KEYS = ("format", "lines")
"""The keys of an included file."""


def included(document: Document, variables: Variables | None = None) -> tuple[list[Document], list[Problem]]:
    """Return the main file and those that it includes, in their order, and why others can't be read.

    Problems of the key itself, and of the keys of an included file, are reported in their documents.
    """
    documents: dict[Path, Document] = {document.file.resolve(): document}
    unreadable: list[Problem] = []
    for file in _files(document):
        if file.resolve() in documents:
            continue
        try:
            one = read_document(file, variables)
        except ConfigurationError as error:
            unreadable += error.problems
            continue
        documents[file.resolve()] = one
        if right_format(one):
            check_keys(one)
    return list(documents.values()), unreadable


def check_keys(document: Document) -> None:
    """Report the keys that an included file can't have."""
    for key in (key for key in document.data if key not in KEYS):
        document.report((key,), unknown("key", key, KEYS) + " (all other keys belong into the main file)")


def _is_below(pattern: str) -> bool:
    """Return whether a pattern names files below the folder, and is short enough for any of them."""
    parts = pattern.split("/")
    return 0 < len(pattern) <= LONGEST_PATTERN and not pattern.startswith("/") and ".." not in parts


def _files(document: Document) -> Iterator[Path]:
    written = document.data.get("include", [])
    if not isinstance(written, list):
        document.report(("include",), "write a list of files, as in [lines/*.yaml]")
        return
    for index, pattern in enumerate(written):
        path: tuple[Step, ...] = ("include", index)
        if not isinstance(pattern, str) or not _is_below(pattern):
            document.report(path, "write a file below the folder of this file, or a pattern such as lines/*.yaml")
            continue
        try:
            files = sorted(islice(document.file.parent.glob(pattern), MOST_FILES + 1))
        except (ValueError, NotImplementedError, OSError) as error:
            document.report(path, f"{pattern!r} is not a pattern of files: {error}")
            continue
        if len(files) > MOST_FILES:
            document.report(path, f"{pattern!r} matches more than {MOST_FILES:,} files")
            files = []
        elif not files:
            wanted = document.file.parent / pattern
            document.report(
                path, f"no file matches {wanted}" if "*" in pattern else f"the file {wanted} does not exist"
            )
        elif files == [document.file.parent / pattern] and files[0].resolve() == document.file.resolve():
            document.report(path, "this is the file itself; remove it")
            files = []
        yield from files
