"""The request of a page to note something of alarms, as a bounded model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.dashboard.alarms.notes import LONGEST_SHELF, MAX_COMMENT, MAX_KEY, SHORTEST_SHELF
from gateway.dashboard.feeds.paths import MachineText, machine_path
from gateway.model.text import clean_text

if TYPE_CHECKING:
    from gateway.model.path import MachinePath

MAX_ALARMS = 1_000
"""Alarms of one request."""


class NotedAlarm(BaseModel):
    """The alarm that a note is of."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: MachineText
    key: Annotated[str, Field(max_length=MAX_KEY)]

    @property
    def machine(self) -> MachinePath:
        """The machine."""
        return machine_path(self.path)


class NoteRequest(BaseModel):
    """Acknowledge alarms, shelve them for some minutes with a comment, end that, or reset latched alarms."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    action: Literal["acknowledge", "shelve", "remove", "reset"]
    alarms: Annotated[list[NotedAlarm], Field(min_length=1, max_length=MAX_ALARMS)]
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] = ""
    minutes: Annotated[int, Field(ge=SHORTEST_SHELF // 60, le=LONGEST_SHELF // 60)] = 60

    @field_validator("comment")
    @classmethod
    def _is_plain(cls, comment: str) -> str:
        return clean_text(comment, MAX_COMMENT)
