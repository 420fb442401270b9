"""The contract of a format: how a file of it is recognised, and the function that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.importers.content import Content
    from gateway.importers.found import Import, Options


class Format(NamedTuple):
    """A kind of file that can be imported. Each importer exports one, and `formats.FORMATS` lists them.

    `name` is the value of `--from`, `title` the words of messages and documents. `recognise` decides by content, and
    hardly ever by the name of the file: a `ValueError` of a view of `Content` (bad JSON, bad XML) means no. `read`
    returns machines and notes; it raises `ValueError` for a file from which nothing can be made.
    """

    name: str
    title: str
    recognise: Callable[[Content], bool]
    read: Callable[[Content, Options], Import]
