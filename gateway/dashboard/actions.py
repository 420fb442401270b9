"""Actions of people on the page, and the record of them.

The views of alarms ask for an identity here alone: the service passes `Actors` that know who is signed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gateway.dashboard.texts.text import ReaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from gateway.dashboard.texts.text import Text
    from gateway.users.roles import Permission


class Forbidden(ReaderError):
    """The person of a request may not do this; the text says what it needs. `status` is that of HTTP."""

    def __init__(self, text: Text, status: int = 403) -> None:
        super().__init__(text)
        self.status = status


class RecordAction(Protocol):
    """Records an action of a person durably: the object, and its state before and after."""

    def __call__(self, identity: str, action: str, object: str, before: Any, after: Any) -> None:  # noqa: A002, ANN401 - JSON
        """Record it; returns at once, and never raises."""


@dataclass(frozen=True, slots=True)
class Actors:
    """The identity of a person who acts, and the record of actions.

    `person` returns the name of the person of a request whose role permits something. Raises `Forbidden`.
    """

    person: Callable[[Request, Permission], str]
    record: RecordAction
