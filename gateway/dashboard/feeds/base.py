"""The contract of a feed: the content of a view on one page, and its changes.

A page subscribes to a feed over its WebSocket, with arguments, and receives the changes since the last message. A
feed remembers only its own messages. A page that is slow gets fewer messages, each with all changes of
the time between, so that nothing queues for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from gateway.dashboard.texts.text import ReaderError

if TYPE_CHECKING:
    from gateway.dashboard.plants import Plants


class BadArguments(ReaderError, ValueError):
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
        """Return the changes since the last call as JSON can hold them, everything at the first; None without any."""
