"""The request of a page to note something of alarms, as a bounded model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.dashboard.alarms.notes import LONGEST_SHELF, MAX_COMMENT, MAX_KEY, SHORTEST_SHELF
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.texts.text import _
from gateway.model.path import MachinePath
from gateway.model.text import clean_text

MAX_ALARMS = 1_000
"""Alarms of one request."""


class NotedAlarm(BaseModel):
    """The alarm that a note is of."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: Annotated[str, Field(max_length=MAX_KEY)]
    key: Annotated[str, Field(max_length=MAX_KEY)]

    @field_validator("path")
    @classmethod
    def _is_of_a_machine(cls, path: str) -> str:
        if len(path.split("/")) != len(MachinePath._fields):
            raise BadArguments(_("path is enterprise/site/area/line/machine"))
        return path

    @property
    def machine(self) -> MachinePath:
        """The machine."""
        return MachinePath(*self.path.split("/"))


class NoteRequest(BaseModel):
    """Acknowledge alarms on the page, shelve them for some minutes with a comment, or end that."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    action: Literal["acknowledge", "shelve", "remove"]
    alarms: Annotated[list[NotedAlarm], Field(min_length=1, max_length=MAX_ALARMS)]
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] = ""
    minutes: Annotated[int, Field(ge=SHORTEST_SHELF // 60, le=LONGEST_SHELF // 60)] = 60

    @field_validator("comment")
    @classmethod
    def _is_plain(cls, comment: str) -> str:
        return clean_text(comment, MAX_COMMENT)
