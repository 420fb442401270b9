"""The contract of a store.

StoreError
├── Unavailable   try again later; nothing of the batch counts as written
└── Rejected      some rows will never be taken; all others of the batch are written
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from gateway.common.setting_types import Section
    from gateway.model.metadata import MachineMeta
    from gateway.model.path import MachinePath
    from gateway.model.reading import NamedScan, Reading


class MachineScan(NamedTuple):
    """One scan on its way into a store. `record` says which record of the batch it came with."""

    path: MachinePath
    meta: MachineMeta
    scan: NamedScan
    record: int


class Refusal(NamedTuple):
    """Readings that a store will not take, in the store's words. `record` is the batch's, `row` the store's row."""

    record: int
    readings: int
    row: str
    message: str


class StoreError(Exception):
    """The base of what a store raises."""


class Unavailable(StoreError):
    """The store can't be reached, or is busy: write the same batch again later."""


class Rejected(StoreError):
    """The store refuses some rows for ever; the rest of the batch is written."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__(f"{sum(refusal.readings for refusal in refusals)} readings refused: {refusals[0].message}")


class Store(ABC):
    """Where rows go. All methods are called from one worker thread, never two at once.

    A batch is written wholly or the store raises. Writing the same batch again changes nothing: a reading is
    known by its machine, point and time.
    """

    durable_after: float = 0.0
    """Seconds after `write` has returned in which the readings may still be lost, by a kill or a power cut.

    Known once the store is open. A batch counts as stored when they are over and `life` is what it was before the
    write; else it is written again.
    """

    @abstractmethod
    def open(self) -> None:
        """Connect, and create what is missing. Raises `Unavailable`."""

    def check(self) -> None:  # noqa: B027 - most have nothing to look at
        """Look whether the store, once open, is set to keep what is promised here: for who is about to write.

        Raises `Unavailable`, which says what to change.
        """

    def life(self) -> str | None:
        """Return what changes when the store's process is started anew; asked of those with `durable_after`.

        None where that can't be told yet: what is written until it can is written again. Raises `Unavailable`.
        """
        return ""

    @abstractmethod
    def write(self, batch: Sequence[MachineScan]) -> None:
        """Write every reading of the batch; when this returns they are safe, or will be `durable_after` later.

        Raises `Unavailable` or `Rejected`.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection or file."""

    def query(self, pattern: str, since: int, limit: int) -> Iterator[Reading]:  # noqa: ARG002 - of those that can
        """Yield the newest `limit` readings whose `path/point` matches the glob `pattern`, newest first.

        `since` is in microseconds since the epoch. Raises `StoreError` where the store can't be asked.
        """
        raise StoreError(f"{type(self).__name__} can only be written to; ask it with its own tools")

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store: the section that configures it, and how one is made of that."""

    name: str
    settings: type[Section]
    make: Callable[[Any], Store]
