"""The messages between the supervisor and a worker.

To a worker they are pickled: they come from its parent. From a worker, which talks with devices, they are JSON with a
model for each kind.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

import drivers
from drivers.base import Protocol

if TYPE_CHECKING:
    from gateway.model.command import Command
    from gateway.model.part import Part
    from gateway.settings.factory import Factory

# -- to a worker --


class Configure(NamedTuple):
    """The configuration to run, see `encode_factory`; the first message of all. The answer is `Applied`."""

    number: int
    factory: bytes
    part: Part


class Pause(NamedTuple):
    """Whether to stay away from the broker: another gateway with this id is connected there."""

    paused: bool


class AskKnown(NamedTuple):
    """A question which of some metadata ids are known. The answer is `Known`."""

    number: int
    ids: list[str]


class AskMetrics(NamedTuple):
    """A question for the state of a worker, and with `samples` for its metrics. The answer is `Metrics`."""

    number: int
    samples: bool


class CarryOut(NamedTuple):
    """A command for an alarm of one of the machines. The answer is `CarriedOut`."""

    number: int
    command: Command


class Stop(NamedTuple):
    """End in the order of the flow, with `Closing` as the last message."""


Order = Configure | Pause | AskKnown | AskMetrics | CarryOut | Stop


def encode_order(order: Order) -> bytes:
    """Return a message to a worker as bytes."""
    return pickle.dumps(order, pickle.HIGHEST_PROTOCOL)


def decode_order(frame: bytes) -> Order:
    """Return a message to a worker."""
    return cast("Order", pickle.loads(frame))  # noqa: S301 - from the parent process


class _Pickler(pickle.Pickler):
    """Writes protocols as their names: they are compared by identity, and have functions."""

    def persistent_id(self, obj: object) -> str | None:
        return obj.name if isinstance(obj, Protocol) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> object:  # noqa: ANN401 - as pickle has it
        return drivers.protocol(pid)


def encode_factory(factory: Factory) -> bytes:
    """Return a configuration as bytes, without the document that it was read from and the stores of ingest."""
    machines = tuple(replace(machine, place=None, written={}) for machine in factory.machines)
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(
        replace(factory, machines=machines, document=None, warnings=(), stores=())
    )
    return buffer.getvalue()


def decode_factory(encoded: bytes) -> Factory:
    """Return a configuration."""
    return cast("Factory", _Unpickler(io.BytesIO(encoded)).load())


# -- from a worker --


class _Message(BaseModel):
    """The base of all messages: strict and frozen."""

    model_config = ConfigDict(strict=True, frozen=True)


class Status(_Message):
    """The state of a worker, every second: its report, and the position of its spool.

    `spool` is the id of its spool, `next` the number of the next record, `oldest` that of the oldest unconfirmed
    record, or `next`. `processor` are the seconds of processor time that its process has used.
    """

    kind: Literal["status"] = "status"
    report: dict[str, Any]
    spool: str
    next: int
    oldest: int
    machines: int
    connections: int
    processor: float


class Applied(_Message):
    """The answer to `Configure` of a running worker: the machines added, changed and removed, or an error."""

    kind: Literal["applied"] = "applied"
    number: int
    affected: dict[str, list[str]] = {}
    error: str = ""


class Known(_Message):
    """The answer to `AskKnown`: those of the ids that are known."""

    kind: Literal["known"] = "known"
    number: int
    ids: list[str]


class Metrics(_Message):
    """The answer to `AskMetrics`.

    `samples` are the values of its metrics (`Samples.as_dict`), `checks` its needs with the reason for
    each that it lacks, `machines` the number of its machines in each state. `spool_silence` are the seconds for which
    the thread of its spool had no turn.
    """

    kind: Literal["metrics"] = "metrics"
    number: int
    samples: dict[str, list[tuple[list[str], list[float]]]] = {}
    checks: dict[str, str]
    machines: dict[str, int]
    spool_silence: float


class CarriedOut(_Message):
    """The answer to `CarryOut`: why it failed, empty if it is done, None without such a machine."""

    kind: Literal["carried_out"] = "carried_out"
    number: int
    failure: str | None


class Refused(_Message):
    """The worker can't start: its spool is in use or can't be opened, or a secret is missing."""

    kind: Literal["refused"] = "refused"
    error: str


class Closing(_Message):
    """The closing report of a worker that has stopped, and its processor time in seconds."""

    kind: Literal["closing"] = "closing"
    report: dict[str, Any]
    processor: float


Answer = Status | Applied | Known | Metrics | CarriedOut | Refused | Closing

_ANSWER: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])


def encode_answer(answer: Answer) -> bytes:
    """Return a message of a worker as bytes."""
    return orjson.dumps(answer.model_dump())


def decode_answer(frame: bytes) -> Answer:
    """Return a message of a worker. Raises `ValueError` if it is not one of them."""
    return _ANSWER.validate_json(frame)
