"""The contract of a feed: what one page shows of one topic, and how it learns of changes.

A page subscribes to a feed over its WebSocket, with arguments, and receives what changed since it received the last
message. A feed notes only what it has sent. A page that is slow gets fewer messages, each with all that changed
meanwhile, so that nothing queues for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.dashboard.plants import Plants


class BadArguments(ValueError):
    """The arguments of a subscription do not fit; the text says what would."""


class Feed(ABC):
    """One subscription of one page. All methods are called in the event loop, and take less than a few milliseconds.

    `every` is the least number of seconds between two messages.
    """

    every: float = 0.1

    def __init__(self, plants: Plants) -> None:
        self.plants = plants

    @abstractmethod
    def choose(self, arguments: dict[str, Any]) -> None:
        """Take the arguments, also again when the page changes them. Raises `BadArguments`."""

    @abstractmethod
    def changes(self) -> Any | None:  # noqa: ANN401 - JSON
        """Return what changed since the last call, all at the first; as JSON can hold it, None if nothing did."""
