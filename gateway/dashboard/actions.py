"""Actions of people on the page, and the record of them.

The page asks for an identity here alone: the service passes `Actors` that know who is signed in. Without
sign-in everybody is `local`, and the service listens at the loopback interface alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

log = structlog.get_logger(__name__)

LOCAL = "local"
"""The name of everybody who did not have to sign in."""


class Forbidden(Exception):
    """The person of a request may not do this; the text says what role may. `status` is that of HTTP."""

    def __init__(self, text: str, status: int = 403) -> None:
        super().__init__(text)
        self.status = status


class RecordAction(Protocol):
    """Records an action of a person durably: the object, and its state before and after."""

    def __call__(self, identity: str, action: str, object: str, before: Any, after: Any) -> None:  # noqa: A002, ANN401 - JSON
        """Record it; returns at once, and never raises."""


def log_action(identity: str, action: str, object: str, before: Any, after: Any) -> None:  # noqa: A002, ANN401 - JSON
    """Log an action, where there is no audit log."""
    log.info("dashboard.action", identity=identity, action=action, object=object, before=before, after=after)


def everybody_is_local(request: Request) -> str:
    """Return the identity where nobody signs in."""
    del request
    return LOCAL


@dataclass(frozen=True, slots=True)
class Actors:
    """The identity of a person who acts, and the record of actions.

    `operator` returns the name of the person of a request who may act on alarms: the role operator or above. Raises
    `Forbidden`.
    """

    operator: Callable[[Request], str] = everybody_is_local
    record: RecordAction = log_action
