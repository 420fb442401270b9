"""The section `gateway.notify`: who is notified of which alarms, and how."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from drivers.extras import instruction, is_installed
from gateway.common.setting_types import DURATION, Duration, File, Name, Secret, Section, parse_duration
from gateway.model.alarm_notice import NotifyStep
from gateway.model.path import MachinePath, matches
from gateway.settings.alarm_set import ALARMS, Priority
from gateway.settings.problems import Problem, Severity, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.settings.document import Document
    from gateway.settings.factory import Factory, Machine

MOST_TARGETS, MOST_RULES = 20, 100

LONGEST_AFTER = 7 * 86_400.0
"""Seconds of the longest escalation."""


def _priorities(written: object) -> object:
    listed: list[Any] = written if isinstance(written, list) else [written]
    for one in listed:
        if not isinstance(one, str) or one.upper() not in Priority.__members__:
            raise ValueError(f"{one!r} is not a priority; write {', '.join(each.shown for each in Priority)}")
    return tuple(Priority[one.upper()] for one in listed)


def _texts(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,) if isinstance(written, str) else written


_LIST = WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}})

_Texts = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=700)], ...],
    BeforeValidator(_texts),
    Field(min_length=1, max_length=100),
    _LIST,
]
"""A text, or a list of texts."""

After = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, le=LONGEST_AFTER), WithJsonSchema(DURATION)]
"""A length of time that may be `0s`, in seconds."""


class NotifyTarget(Section):
    """Where messages go: one URL of Apprise."""

    url: Secret
    """The name of the URL, never the URL, since it contains passwords and tokens, as in `{secret: notify_shift}`."""
    ca: File | None = None
    """The certificate of whom to trust, in place of the system's, as in `/etc/lineside/plant-ca.pem`."""
    insecure: bool = False
    """Whether messages, and the password, may cross the network as readable text or to a server whose certificate is
    not verified, as in `true`."""


class MessageRate(Section):
    """How many messages a target gets; alarms that wait meanwhile share the next message."""

    messages: Annotated[int, Field(ge=1, le=10_000)] = 20
    """The number of messages, as in `20`."""
    per: Annotated[Duration, Field(ge=1, le=86_400)] = 600.0
    """The time in which that number is not exceeded, as in `10m`."""


class NotifyRule(Section):
    """Which alarms which targets are notified of, and when."""

    model_config = ConfigDict(validate_by_name=False, validate_by_alias=True)

    targets: _Texts
    """The targets, by their names, as in `shift` or `[shift, maintenance]`."""
    priorities: Annotated[tuple[Priority, ...], BeforeValidator(_priorities), Field(min_length=1), _LIST] = tuple(
        Priority
    )
    """The priorities of alarms, all without it, as in `[critical, high]`."""
    machines: _Texts = ("*",)
    """The machines, as patterns of the end of their paths, as in `curing-1/*` or `[press-01, press-02]`."""
    classes: _Texts = ("*",)
    """The classes of alarms, as patterns, as in `safety` or `[safety, process]`."""
    after: After = 0.0
    """How long after its annunciation an alarm must still be unacknowledged, as in `10m`."""

    def applies(self, machine: str, priority: Priority, category: str) -> bool:
        """Return whether the rule is about alarms of a machine, given by its path."""
        path = MachinePath(*machine.split("/"))
        return (
            priority in self.priorities
            and any(matches(one, path) for one in self.machines)
            and any(fnmatchcase(category, one) for one in self.classes)
        )


class NotifySection(Section):
    """Notification of alarms, by the gateway itself; without `rules` there is none."""

    targets: Annotated[dict[Name, NotifyTarget], Field(max_length=MOST_TARGETS)] = {}
    """The places that messages go to, by their names, as in `{shift: {url: {secret: notify_shift}}}`."""
    rules: Annotated[
        tuple[NotifyRule, ...],
        BeforeValidator(lambda written: tuple(written) if isinstance(written, list) else written),
        Field(max_length=MOST_RULES),
    ] = ()
    """Who is notified of which alarms, as in `[{priorities: [critical, high], targets: [shift]}]`."""
    at_most: MessageRate = MessageRate()
    """How many messages each target gets, as in `{messages: 20, per: 10m}`."""
    give_up: Annotated[Duration, Field(ge=60, le=7 * 86_400)] = 3_600.0
    """How long a message is tried, as in `1h`."""

    @property
    def enabled(self) -> bool:
        """Whether anybody is notified."""
        return bool(self.targets and self.rules)

    def steps(self, machine: str, priority: Priority, category: str) -> tuple[NotifyStep, ...]:
        """Return the escalation of an alarm, in its order; each target once for each time."""
        found = {
            NotifyStep(rule.after, target)
            for rule in self.rules
            if rule.applies(machine, priority, category)
            for target in rule.targets
        }
        return tuple(sorted(found))


def check_notify(section: NotifySection, document: Document, machines: Iterable[Machine]) -> None:
    """Report rules with unknown targets, and warn of rules that can't apply to any alarm."""
    path = ("gateway", "notify", "rules")
    known = [one for one in machines if one.alarms or _has_events(one)]
    for i, rule in enumerate(section.rules):
        for target in rule.targets:
            if target not in section.targets:
                document.report((*path, i, "targets"), unknown("target", target, section.targets))
        for pattern in rule.machines:
            if known and not any(matches(pattern, one.path) for one in known):
                message = (
                    f"no machine with alarms matches {pattern!r}; write the end of a path, as in "
                    f"{known[0].path.line}/{known[0].path.machine}, or a pattern, as in {known[0].path.line}/*"
                )
                document.report((*path, i, "machines"), message, Severity.WARNING)
        classes = sorted({alarm.category for one in known for alarm in one.alarms.alarms} | {"device"})
        for pattern in rule.classes:
            if known and not any(fnmatchcase(one, pattern) for one in classes):
                message = f"no alarm has a class {pattern!r}; the classes are {', '.join(classes[:20])}"
                document.report((*path, i, "classes"), message, Severity.WARNING)
    unused = section.targets.keys() - {target for rule in section.rules for target in rule.targets}
    for target in sorted(unused):
        document.report(("gateway", "notify", "targets", target), "no rule names this target", Severity.WARNING)


def _has_events(machine: Machine) -> bool:
    return any(point.name == ALARMS for point in machine.results)


def notify_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield a warning if somebody is to be notified, and the library for it is missing."""
    document = factory.document
    if document is None or not factory.gateway.notify.enabled or is_installed("notify"):
        return
    path = "gateway", "notify"
    message = f"notification needs the extra notify; {instruction('notify')}"
    yield Problem(document.file, *document.mark(path), ".".join(path), message, Severity.WARNING)


def worker_share(workers: int | str) -> int:
    """Return the number of workers that share the messages of a gateway: with `auto` all that there may be."""
    return workers if isinstance(workers, int) else len(os.sched_getaffinity(0))


class Limits(NamedTuple):
    """How many messages a target gets, in how many seconds, and how long one is tried."""

    messages: int
    per: float
    give_up: float

    @classmethod
    def of(cls, section: NotifySection, workers: int = 1) -> Limits:
        """Return the limits of one of several workers: they share the number of messages evenly, one at least."""
        return cls(max(1, section.at_most.messages // workers), section.at_most.per, section.give_up)
