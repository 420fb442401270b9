"""Relative paths follow the file that they are written in; those of the command line follow the working folder."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from drivers.base import Settings, as_written
from gateway.common.setting_types import Secret, parse_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.base import Connection
    from gateway.settings.document import Document, Step

S = TypeVar("S", bound=Settings)


@cache
def _keys_with_paths(model: type[Settings]) -> tuple[str, ...]:
    """Return the keys of a section that can have a path, or paths below them."""
    return tuple(
        key for key, field in model.model_fields.items() if any(map(_can_have_paths, _kinds(field.annotation)))
    )


def _kinds(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any annotation
    yield annotation
    for argument in get_args(annotation):
        yield from _kinds(argument)


def _can_have_paths(kind: Any) -> bool:  # noqa: ANN401 - any annotation
    return isinstance(kind, type) and issubclass(kind, Path | Settings)


def anchored(section: S, document: Document, path: Sequence[Step]) -> S:
    """Return a section with its relative paths below the folder of the document that it is written in.

    The paths of keys that are not written are defaults: they are in the state folder of systemd, else they follow the
    document, too.
    """
    changes: dict[str, Any] = {}
    for key in _keys_with_paths(type(section)):
        value = getattr(section, key)
        if isinstance(value, Path):
            state = "" if key in section.model_fields_set else os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
            changes[key] = (Path(state) if state else document.folder((*path, key))) / value
        elif isinstance(value, Secret) and value.file:
            file = document.folder((*path, key)) / str(parse_path(value.file))
            changes[key] = value.model_copy(update={"file": str(file)})
        elif isinstance(value, Settings):
            changes[key] = anchored(value, document, (*path, key))
        elif isinstance(value, dict):
            changes[key] = {
                name: anchored(one, document, (*path, key, name)) if isinstance(one, Settings) else one
                for name, one in value.items()
            }
    different = {key: value for key, value in changes.items() if value != getattr(section, key)}
    return section.model_copy(update=different) if different else section


def anchored_connection(connection: Connection, document: Document, path: Sequence[Step], main: Path) -> Connection:
    """Return a connection with its relative paths below the folder of the document.

    Defaults are below that of the factory's main file, as those of the factory's sections.
    """
    return anchored(connection, document, path).beside(main)


def movable_connection(written: Any, connection: Connection) -> Any:  # noqa: ANN401 - what a user wrote
    """Return a connection as it is written, a URL or a mapping, with absolute paths: the same from any folder."""
    if not any(getattr(connection, key) for key in _keys_with_paths(type(connection))):
        return written
    options = written if isinstance(written, dict) else {"url": written}
    query = urlsplit(str(options.get("url", ""))).query
    keys = {*options, *(key for key, _ in parse_qsl(query))}
    absolute = {key: value for key in keys if (value := _absolute(getattr(connection, key, None))) is not None}
    if not absolute:
        return written
    url = str(options["url"])
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(key in absolute for key, _ in pairs):
        pairs = [(key, absolute.get(key, value)) for key, value in pairs]
        url = urlsplit(url)._replace(query=urlencode(pairs, safe=":/")).geturl()
    found = options | {"url": url} | {key: value for key, value in absolute.items() if key in options}
    return found if isinstance(written, dict) else url


def movable_section(written: Any, section: Settings) -> Any:  # noqa: ANN401 - what a user wrote
    """Return a section as it is written, with absolute paths: the same from any folder."""
    if not isinstance(written, dict):
        return written
    found = dict(written)
    for key, inner in written.items():
        value = getattr(section, key, None)
        if (absolute := _absolute(value)) is not None:
            found[key] = absolute
        elif isinstance(value, Settings):
            found[key] = movable_section(inner, value)
        elif isinstance(value, dict) and isinstance(inner, dict):
            found[key] = {
                name: movable_section(one, below) if isinstance(below := value.get(name), Settings) else one
                for name, one in inner.items()
            }
    return found


def _absolute(value: object) -> Any:  # noqa: ANN401 - what a user could write
    """Return a path, or the file of a secret, as an absolute path in the form of the configuration; else None."""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Secret) and value.file:
        return as_written(value) | {"file": str(Path(value.file).absolute())}
    return None
