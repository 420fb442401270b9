"""From a factory's YAML to a checked `Factory`. All mistakes are collected before any is raised."""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from drivers.extras import instruction
from gateway.codecs import CODECS
from gateway.common.setting_types import Section
from gateway.settings.audit_section import AUDIT
from gateway.settings.calendar import CalendarSection
from gateway.settings.dashboard_section import DashboardSection
from gateway.settings.destinations import destinations, shared_secrets
from gateway.settings.document import read_document, right_format
from gateway.settings.encrypted_storage import storage_problems
from gateway.settings.factory import Factory, StoreEntry
from gateway.settings.include import included
from gateway.settings.interpolation import Variables
from gateway.settings.machines import Machines
from gateway.settings.notify_section import check_notify
from gateway.settings.overrides import apply
from gateway.settings.paths import anchored
from gateway.settings.policy import Untrusted, read_policy
from gateway.settings.problems import CLOSE, ConfigurationError, Problem, Severity, in_order, unknown
from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection
from gateway.settings.shared_key import shared_key_problems
from gateway.settings.signature import verified
from gateway.settings.signature_memory import Service, remembered, rolled_back
from gateway.settings.storage_section import StorageSection
from gateway.settings.templates import Templates
from gateway.settings.validation import validate
from gateway.stores import STORES, store_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.settings.document import Document, Step
    from gateway.settings.overrides import Override
    from gateway.settings.policy import Policy

S = TypeVar("S", bound=Section)

KEYS = (
    "format", "factory", "gateway", "broker", "ingest", "dashboard", "calendar", "storage", "stores", "templates",
    "include", "lines",
)  # fmt: skip
"""The keys of a factory's file."""

_WITH_SHARED_KEY = (Service.GATEWAY, Service.INGEST)
"""The services that use `gateway.confirm_key`."""


def load_factory(file: Path, overrides: Sequence[Override] = (), *, service: Service | None = None) -> Factory:
    """Read, check and expand a factory's YAML.

    Variables are those of the environment; `overrides` are values in place of those of the file. Raises
    `ConfigurationError` with every problem of the file and of the templates it names, and `Untrusted` if the policy
    of this machine refuses it. For a `service` the signature is checked, too, and whether this machine has accepted a
    newer signature; `signature_memory.remember` accepts it. Gateway and ingest refuse a short `gateway.confirm_key`,
    and each service refuses storage that has to be encrypted and is not.
    """
    with no_garbage_collection():
        policy = read_policy()
        factory = _load(file, tuple(overrides))
        if policy is not None:
            factory = _allowed(factory, policy, service)
        # after the policy: a secret that it does not allow is not read
        problems = list(shared_key_problems(factory)) if service in _WITH_SHARED_KEY else []
        problems += storage_problems(factory, service) if service is not None else []
        if problems:
            raise ConfigurationError(problems)
        return factory


def _allowed(factory: Factory, policy: Policy, service: Service | None) -> Factory:
    """Return a configuration that the policy allows, with its signature for a service. Raises `Untrusted`."""
    problems = policy.check(factory)
    if service is not None:
        try:
            factory = _signed(factory, service, policy)
        except Untrusted as error:
            problems += error.problems
    if problems:
        raise Untrusted(problems)
    return factory


def _signed(factory: Factory, service: Service, policy: Policy) -> Factory:
    """Return a configuration with its signature, if the policy requires one. Raises `Untrusted`."""
    found = verified(factory, policy)
    if found is None:
        return factory
    signed = remembered(factory, found, service, policy)
    if problems := rolled_back(factory, signed, policy):
        raise Untrusted(problems)
    return replace(factory, signed=signed)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Look for no garbage while a configuration is made: all of it stays, and looking takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(file: Path, overrides: tuple[Override, ...]) -> Factory:
    variables = Variables(os.environ)
    document = read_document(file, variables)
    if isinstance(document.data, dict):
        apply(document, overrides)
    if not right_format(document):
        raise ConfigurationError(document.problems)
    data = document.data
    slips: set[str] = set()
    for key in data:
        if key not in KEYS:
            document.report((key,), unknown("key", key, KEYS))
            slips.update(get_close_matches(key, KEYS, n=1, cutoff=CLOSE))
    slips -= data.keys()  # sections that are there, under the unknown keys that are reported
    factory = None if "factory" in slips else _section(FactorySection, document, "factory")
    gateway = None if "gateway" in slips else _section(GatewaySection, document, "gateway")
    broker = None if "broker" in slips else _section(BrokerSection, document, "broker")
    ingest = None if "ingest" in slips else _ingest(document)
    dashboard = None if "dashboard" in slips else _dashboard(document, gateway)
    calendar = None if "calendar" in slips else _section(CalendarSection, document, "calendar")
    storage = None if "storage" in slips else _section(StorageSection, document, "storage")
    if gateway is not None:
        _check_codec(document, gateway.codec)
    stores = _stores(document)
    documents, unreadable = included(document, variables)
    templates = Templates(document)
    machines = Machines(documents, factory, templates, calendar).all()
    if gateway is not None:
        check_notify(gateway.notify, document, machines)
    problems = unreadable + templates.problems + [problem for one in documents for problem in one.problems]
    wrong = any(problem.severity is Severity.ERROR for problem in problems)
    if wrong or factory is None or gateway is None or broker is None or ingest is None or dashboard is None:
        raise ConfigurationError(problems)
    assert calendar is not None  # noqa: S101 - else there is a problem
    assert storage is not None  # noqa: S101 - as above
    every = (*documents, *templates.documents)
    found = Factory(
        file, factory, gateway, broker, ingest, tuple(stores), tuple(machines), tuple(in_order(problems)), document,
        {one.file: one.digest for one in every}, overrides, templates.own, dashboard,
        calendar=calendar, storage=storage, texts={one.file: one.text_digest for one in every},
    )  # fmt: skip
    warnings = list(_shared_secrets(found))
    return replace(found, warnings=tuple(in_order((*found.warnings, *warnings)))) if warnings else found


def _shared_secrets(factory: Factory) -> Iterator[Problem]:
    """Yield a warning for each secret that is for more than one thing."""
    for one, path, secret, before in shared_secrets(destinations(factory)):
        document, whole = one.place.document, (*one.place.path, *path)
        message = (
            f"the secret {secret.secret or secret.file} is used for {before}, too: each would know the other's; "
            "give each a secret of its own"
        )
        yield Problem(document.file, *document.mark(whole), ".".join(map(str, whole)), message, Severity.WARNING)


def _dashboard(document: Document, gateway: GatewaySection | None) -> DashboardSection | None:
    """Return the section `dashboard`, with its default paths in the folder of the spool."""
    section = validate(DashboardSection, document, document.data.get("dashboard"), ("dashboard",))
    if section is not None and gateway is not None:
        section = section.beside(gateway.spool.folder)
    return None if section is None else anchored(section, document, ("dashboard",))


def _ingest(document: Document) -> IngestSection | None:
    """Return the section `ingest`, with its audit log in its folder unless another is written."""
    section = validate(IngestSection, document, document.data.get("ingest"), ("ingest",))
    if section is None:
        return None
    found = anchored(section, document, ("ingest",))
    if "folder" in section.audit.model_fields_set:
        return found
    return found.model_copy(update={"audit": found.audit.model_copy(update={"folder": found.folder / AUDIT})})


def _section(model: type[S], document: Document, key: str) -> S | None:
    """Return a section of the main file with its paths, or None after reporting its problems."""
    section = validate(model, document, document.data.get(key), (key,))
    return None if section is None else anchored(section, document, (key,))


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
        document.report(
            ("stores",), "is not a list; write - before each store, as in '- sqlite: {path: readings.db}'"
        )
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
            entries.append(StoreEntry(kind, anchored(section, document, (*path, name))))
    return entries


def _there_are(names: Any) -> str:  # noqa: ANN401 - any table
    return f"there are: {', '.join(sorted(names))}"
