"""The section `gateway.commands`: who may command this gateway over MQTT, and the limits of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gateway.common.public_keys import PublicKey  # noqa: TC001 - pydantic looks it up
from gateway.common.setting_types import Duration, Name, Section
from gateway.model.text import MAX_NAME, check_text
from gateway.settings.problems import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.factory import Factory

MOST_KEYS = 100

MOST_PEOPLE = 200
"""Names of one key."""

ANY = "any"
"""In place of names: the sender with the key has checked who its people are."""


def _pair(written: object) -> object:
    return tuple(written) if isinstance(written, list) else written


def _people(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,) if isinstance(written, str) else written


def _person(name: str) -> str:
    return check_text(name, MAX_NAME)


def _key(written: object) -> object:
    return {"key": written} if isinstance(written, str) else written


class CommandKey(Section):
    """A key of those who may command, and the people that its commands may name."""

    key: PublicKey
    """The public key (Ed25519), as in `MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=`."""
    people: Annotated[
        tuple[Annotated[str, Field(min_length=1), AfterValidator(_person)], ...],
        BeforeValidator(_people), Field(max_length=MOST_PEOPLE),
    ] = ()  # fmt: skip
    """The people that its commands may name, or `any` for a page, which checks its users; without it a command is
    recorded in the name of the key, as in `[anna, ben]`."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if ANY in self.people and len(self.people) > 1:
            raise ValueError("any is for all names; write people: any, or the names alone")
        return self

    def permits(self, person: str) -> bool:
        """Return whether a command with this key may name a person."""
        return not self.people or self.people == (ANY,) or person in self.people


class WritableSection(Section):
    """The limits of writing one point. No driver writes yet: each such command is refused after its checks."""

    range: Annotated[tuple[float, float], BeforeValidator(_pair)]
    """The lowest and the highest value that may be written, as in `[160, 180]`."""
    approvals: Annotated[int, Field(ge=0, le=4)] = 0
    """Other persons whose consent is needed, each with a key of their own, as in `1`."""

    @model_validator(mode="after")
    def _is_range(self) -> Self:
        if self.range[0] > self.range[1]:
            raise ValueError(f"the range is empty; write [{self.range[1]:g}, {self.range[0]:g}]")
        return self


class CommandsSection(Section):
    """Commands over MQTT. Without `keys` and `unsigned_alarms` the gateway takes none."""

    keys: Annotated[dict[Name, Annotated[CommandKey, BeforeValidator(_key)]], Field(max_length=MOST_KEYS)] = {}
    """The keys of those who may command, by their names; a public key alone has no people, as in
    `{control-room: {key: "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", people: [anna, ben]}}`.
    """
    unsigned_alarms: bool = False
    """Whether commands for alarms, and reasons of stops, need no signature: then anyone who may publish on the topic
    can acknowledge, shelve and give reasons, as in `true`.
    """
    longest: Duration = 300.0
    """The longest time from the issue of a command to its expiry, as in `5m`."""
    writable: dict[str, WritableSection] = {}
    """The points that may be written, as LINE/MACHINE/POINT, with their limits, as in `{curing-1/press-01/set_point:
    {range: [160, 180], approvals: 1}}`.
    """

    @property
    def enabled(self) -> bool:
        """Whether any command can be accepted."""
        return bool(self.keys) or self.unsigned_alarms


def command_warnings(factory: Factory) -> Iterator[Problem]:
    """Yield a warning for each key without people, for `lineside validate`."""
    document = factory.document
    if document is None:
        return
    for name, key in factory.gateway.commands.keys.items():
        if not key.people:
            path = "gateway", "commands", "keys", name
            message = (
                f"commands are recorded in the name of {name}, not of a person; write {{key: ..., people: [NAME]}} "
                "there, or people: any for the key of a page"
            )
            yield Problem(document.file, *document.mark(path), ".".join(path), message, Severity.WARNING)
