"""From a factory's YAML to a checked `Factory`. All mistakes are collected before any is raised."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from drivers.extras import instruction
from gateway.codecs import CODECS
from gateway.settings.document import read_document, right_format
from gateway.settings.factory import Factory, StoreEntry
from gateway.settings.include import included
from gateway.settings.machines import Machines
from gateway.settings.problems import CLOSE, ConfigurationError, Severity, in_order, unknown
from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
from gateway.settings.templates import Templates
from gateway.settings.validation import validate
from gateway.stores import STORES, store_kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings.document import Document, Step

KEYS = ("format", "factory", "gateway", "broker", "ingest", "stores", "templates", "include", "lines")
"""The keys of a factory's file."""


def load_factory(file: Path) -> Factory:
    """Read, check and expand a factory's YAML.

    Raises `ConfigurationError` with every problem of the file and of the templates it names.
    """
    # all that is made here stays: looking for garbage in between costs a third of the time of a large factory
    with _no_garbage_collection():
        return _load(file)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(file: Path) -> Factory:
    document = read_document(file)
    if not right_format(document):
        raise ConfigurationError(document.problems)
    data = document.data
    slips: set[str] = set()
    for key in data:
        if key not in KEYS:
            document.report((key,), unknown("key", key, KEYS))
            slips.update(get_close_matches(key, KEYS, n=1, cutoff=CLOSE))
    slips -= data.keys()  # sections that are there, under the unknown keys that are reported
    factory = None if "factory" in slips else validate(FactorySection, document, data.get("factory"), ("factory",))
    gateway = None if "gateway" in slips else validate(GatewaySection, document, data.get("gateway"), ("gateway",))
    broker = None if "broker" in slips else validate(BrokerSection, document, data.get("broker"), ("broker",))
    ingest = None if "ingest" in slips else validate(IngestSection, document, data.get("ingest"), ("ingest",))
    if gateway is not None:
        _check_codec(document, gateway.codec)
    stores = _stores(document)
    documents, unreadable = included(document)
    templates = Templates(document)
    machines = Machines(documents, factory, templates).all()
    problems = unreadable + templates.problems + [problem for one in documents for problem in one.problems]
    wrong = any(problem.severity is Severity.ERROR for problem in problems)
    if wrong or factory is None or gateway is None or broker is None or ingest is None:
        raise ConfigurationError(problems)
    files = {one.file: one.digest for one in (*documents, *templates.documents)}
    return Factory(
        file, factory, gateway, broker, ingest, tuple(stores), tuple(machines), tuple(in_order(problems)), document,
        files,
    )  # fmt: skip


def _check_codec(document: Document, name: str) -> None:
    if name not in CODECS:
        document.report(("gateway", "codec"), unknown("codec", name, CODECS))
    elif extra := CODECS[name].missing_extra():
        document.report(("gateway", "codec"), f"codec {name} needs the extra {extra}; {instruction(extra)}")


def _stores(document: Document) -> list[StoreEntry]:
    written = document.data.get("stores")
    if written is None:
        return []
    if not isinstance(written, list):
        document.report(("stores",), "write a list, as in '- sqlite: {path: readings.db}'")
        return []
    entries = []
    for index, item in enumerate(written):
        path: tuple[Step, ...] = ("stores", index)
        if not isinstance(item, dict) or len(item) != 1:
            document.report(path, f"write one store, as in '- sqlite: {{path: readings.db}}'; {_there_are(STORES)}")
            continue
        [(name, settings)] = item.items()
        if name not in STORES:
            document.report((*path, name), unknown("store", name, STORES))
            continue
        kind = store_kind(name)
        section = validate(kind.settings, document, settings, (*path, name))
        if section is not None:
            entries.append(StoreEntry(kind, section))
    return entries


def _there_are(names: Any) -> str:  # noqa: ANN401 - any table
    return f"there are: {', '.join(sorted(names))}"
