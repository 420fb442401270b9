"""The section `gateway.commands`: who may command this gateway over MQTT, and the limits of it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from gateway.common.public_keys import PublicKey  # noqa: TC001 - pydantic looks it up
from gateway.common.setting_types import Duration, Name, Section

MOST_KEYS = 100


def _pair(written: object) -> object:
    return tuple(written) if isinstance(written, list) else written


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

    keys: Annotated[dict[Name, PublicKey], Field(max_length=MOST_KEYS)] = {}
    """The public keys (Ed25519) of those who may command, by their names, as in `{control-room:
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}`.
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
