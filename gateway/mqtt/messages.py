"""The messages that come in over MQTT: one strict, frozen, bounded model for each, and what writes the answers.

Anyone with the right to publish on a topic may publish anything there. So every payload is measured before it is
parsed, every number has its range, every list its length, and every text passes `gateway.model.text`. A payload
that fits becomes a value that later steps can rely on; any other raises `BadMessage`, and never another exception.
Fields that no reader needs are ignored, so that a newer peer can add some.

A topic whose retained message was cleared delivers an empty payload (MQTT 5, 3.3.1.3): callers look for that first.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from drivers.base import ValueType  # noqa: TC001 - of a field
from gateway.model.metadata import MAX_POINTS, MachineMeta, write_meta
from gateway.model.part import MAX_WORKERS
from gateway.model.path import MachinePath
from gateway.model.receipt import PROOF_BYTES
from gateway.model.text import FORBIDDEN_TEXT, MAX_NAME, MAX_TEXT, MAX_UNIT, check_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.common.seq_ranges import SeqRange

MAX_STATE_BYTES = 16 * 2**10
"""Bytes of a state of a gateway, an ingest or a machine, and of `wanted`: a thousand are usual."""

MAX_CONFIRMATION_BYTES = 512 * 2**10
"""Bytes of a confirmation. `MAX_RANGES` of them fit, or the proofs of 40,000 records."""

MAX_META_BYTES = 4 * 2**20
"""Bytes of `meta` and `metadata`. More would stop the event loop for more than half a second."""

MAX_RANGES = 10_000
"""Ranges, and records with readings set aside, of one confirmation; ingest splits a longer list."""

MAX_IDS = 100
"""Descriptions in a `wanted`, and in a `metadata`."""

MAX_EARLIER = 16
"""Earlier descriptions in one `meta`; gateways send four."""

MAX_REASONS = 100
"""Reasons for which a ledger counts dropped readings."""

MAX_COUNTERS = 100
"""Counters of the drivers of one gateway."""

MAX_STORES = 100
"""Stores of one ingest."""

MAX_LABELS = 1_000
"""Labels of one point."""

MAX_REVISED = 20
"""Parameters of a point that a device has revised."""

MAX_PERIOD = 1e9
"""Seconds of a period."""

MAX_LAG = 1e15
"""Milliseconds of a lag or another length of time: more than any two times differ by."""

MAX_SEQ = 2**63 - 1
"""The largest sequence number: SQLite and the stores have signed 64-bit integers."""

ANSWER_BYTES = 128 * 2**10
"""Bytes from which on an answer goes on in another message: some brokers take no more than 256 KiB."""

_ERRORS_SHOWN = 3

_WORDS = {"string_pattern_mismatch": "is empty, or contains a character that is not allowed"}
"""In place of pydantic's message, which repeats the pattern."""

_SURROGATES = r"\ud800-\udfff"


class BadMessage(ValueError):
    """A payload is not the message that its topic is for. The text is short and repeats nothing of the payload."""


_TEXT = f"[^{FORBIDDEN_TEXT.pattern[1:].replace(_SURROGATES, '')}"
"""`FORBIDDEN_TEXT` turned round, for the regular expressions of pydantic: surrogates do not reach them."""

_KEY = re.compile(r"[1-9][0-9]{0,18}")

Name = Annotated[str, Field(max_length=MAX_NAME, pattern=f"^{_TEXT}+$")]
Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=f"^{_TEXT}*$")]
Unit = Annotated[str, Field(max_length=MAX_UNIT, pattern=f"^{_TEXT}*$")]
Content = Annotated[str, Field(pattern=r"^[a-z_]{0,32}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
DescriptionId = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
Seq = Annotated[int, Field(ge=1, le=MAX_SEQ)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Total = Annotated[int, Field(ge=0, le=MAX_SEQ)]
Length = Annotated[float, Field(ge=0, le=MAX_LAG)]
Microseconds = Annotated[int, Field(ge=0, le=253_402_300_800_000_000)]


def _in_order(ranges: tuple[SeqRange, ...]) -> tuple[SeqRange, ...]:
    for first, last in ranges:
        if first > last:
            raise ValueError("a range ends before it begins")
    return ranges


def _key(written: object) -> object:
    """Turn the key of a JSON object into a number; pydantic would also take `+7`, `07`, `7.0` and `1_0`."""
    if not isinstance(written, str) or not _KEY.fullmatch(written):
        raise ValueError("is not a sequence number")
    return int(written)


def _proofs(written: object) -> object:
    """Decode the base64 of proofs."""
    if not isinstance(written, str):
        raise ValueError("is not base64")  # noqa: TRY004 - pydantic reports it
    try:
        return a2b_base64(written, strict_mode=True) if written else b""
    except ValueError:
        raise ValueError("is not base64") from None


Ranges = Annotated[tuple[tuple[Seq, Seq], ...], Field(max_length=MAX_RANGES), FailFast(), AfterValidator(_in_order)]
Counts = Annotated[dict[Annotated[Seq, BeforeValidator(_key)], Count], Field(max_length=MAX_RANGES), FailFast()]
ProofBytes = Annotated[bytes, BeforeValidator(_proofs)]
Ids = Annotated[tuple[DescriptionId, ...], Field(max_length=MAX_IDS), FailFast()]


class _Message(BaseModel):
    """The base of all messages: strict (no `true` or `"7"` for a number), frozen, unknown keys ignored.

    Long lists and objects stop at their first error (`FailFast`): to note half a million of them takes seconds.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Confirmation(_Message):
    """The records of a spool that stores hold (`ranges`), or have accepted and may still lose (`taken`).

    `lost` are accepted records that a store has lost, or may have: ingest asks for them again. `set_aside` counts
    the readings of a record, by its number, that a store refused. `by` is the id of the ingest or its share name,
    `instance` its process. `proofs` are the proofs of all records of `ranges`, then of `taken`, then of `lost`, see
    `gateway.model.receipt`; empty if ingest does not prove.
    """

    spool: Name
    ranges: Ranges
    taken: Ranges = ()
    lost: Ranges = ()
    set_aside: Counts = Field(default_factory=dict)
    by: Text = ""
    instance: Text = ""
    proofs: ProofBytes = b""

    @model_validator(mode="after")
    def _each_is_proved(self) -> Self:
        records = sum(last - first + 1 for part in (self.ranges, self.taken, self.lost) for first, last in part)
        if self.proofs and len(self.proofs) != records * PROOF_BYTES:
            raise ValueError(f"has {len(self.proofs)} bytes of proofs for {records} records")
        return self

    @property
    def last(self) -> int:
        """The highest sequence number of the message; 0 without any."""
        ends = [last for ranges in (self.ranges, self.taken, self.lost) for _, last in ranges]
        return max((*ends, *self.set_aside), default=0)


class ClientState(_Message):
    """The birth or death of a gateway or ingest: which process it was, and the number of its connection.

    Times are in microseconds since the epoch, UTC, and 0 in messages of earlier versions: `since` is the beginning of
    the state, `started` that of the process, and `online_since`, in the will message, that of the lost connection.
    `config` is the digest of the configuration, in a birth.
    """

    state: Literal["online", "offline"]
    instance: Name
    host: Text = ""
    birth: Annotated[int, Field(ge=0, le=MAX_SEQ)] = 0
    reason: Text = ""
    version: Text = ""
    since: Microseconds = 0
    started: Microseconds = 0
    online_since: Microseconds = 0
    config: Text = ""


class GatewayState(ClientState):
    """The birth or death of a gateway. A birth names its spool."""

    spool: Text = ""


class IngestState(ClientState):
    """The birth or death of an ingest."""


class MachineState(_Message):
    """The state of a machine, signed by its gateway; `since` is in microseconds since the epoch, UTC."""

    state: Literal["starting", "online", "degraded", "offline"]
    reason: Text = ""
    since: Microseconds = 0
    gateway: Text = ""


class LedgerCounts(_Message):
    """Readings by their outcome; `dropped` by reason."""

    acquired: Total
    unchanged: Total
    pending: Total
    confirmed: Total
    dropped: Annotated[dict[Name, Total], Field(max_length=MAX_REASONS), FailFast()]


class Milliseconds(_Message):
    """The mean and the longest of some lengths of time."""

    mean: Length
    most: Length


class ScheduleCounts(_Message):
    """Scans since the start by their outcome; their delays, and their durations."""

    due: Total
    missed: Total
    taken: Total | None = None
    late_ms: Milliseconds | None = None
    lasted_ms: Milliseconds | None = None


class BrokerCounts(_Message):
    """Records since the start: sent again, acknowledged where nobody had subscribed, and refused by the broker."""

    again: Total = 0
    nobody: Total = 0
    refused: Total = 0


class WorkerFigures(_Message):
    """A worker process of a gateway: its machines and connections, and how often it was started again."""

    worker: Total
    machines: Total = 0
    connections: Total = 0
    restarts: Total = 0
    values_per_second: Annotated[float, Field(ge=0, le=1e12)] = 0.0


class ClockReport(_Message):
    """Whether a gateway trusts its clock, how often the clock was set, and how far time is ahead of it."""

    trusted: bool
    steps: Total = 0
    ahead_ms: Length = 0.0


class PointCounts(_Message):
    """Points by their quality at present."""

    configured: Total
    good: Total
    uncertain: Total
    bad: Total


class LedgerReport(_Message):
    """The parts of the report that a gateway publishes every second which others show.

    `time` is in microseconds since the epoch, UTC; `seconds` is the time since the start of the process.
    `oldest_seconds` is the age of the oldest record in the spool, 0 without one, None if a former process made it.
    `drivers` are the sums of the counters of all drivers, by name.
    The parts with a default are missing in earlier versions.
    """

    balanced: bool
    spool_bytes: Total
    ledger: LedgerCounts
    schedule: ScheduleCounts
    time: Microseconds = 0
    version: Text = ""
    config: Text = ""
    seconds: Annotated[float, Field(ge=0, le=MAX_PERIOD)] = 0.0
    oldest_seconds: Annotated[float, Field(ge=0, le=MAX_PERIOD)] | None = None
    broker: BrokerCounts | None = None
    clock: ClockReport | None = None
    points: PointCounts | None = None
    workers: Annotated[tuple[WorkerFigures, ...], Field(max_length=MAX_WORKERS), FailFast()] = ()
    drivers: Annotated[dict[Name, Total], Field(max_length=MAX_COUNTERS), FailFast()] = Field(default_factory=dict)


class StoreReport(_Message):
    """Whether an ingest can write to a store, since when (microseconds since the epoch, UTC), or the error."""

    store: Name
    state: Literal["opening", "available", "unavailable"]
    since: Microseconds = 0
    error: Text = ""


class IngestReport(_Message):
    """The report of an ingest.

    `lag_ms` are the milliseconds from a reading's time to its write, of the latest written batch, whose time is
    `stored`; None and 0 before the first.
    """

    time: Microseconds
    version: Text = ""
    config: Text = ""
    records: Total
    readings: Total
    dead_letters: Total
    lag_ms: Annotated[float, Field(ge=-MAX_LAG, le=MAX_LAG)] | None = None
    stored: Microseconds = 0
    stores: Annotated[tuple[StoreReport, ...], Field(max_length=MAX_STORES), FailFast()] = ()


class PointDescription(_Message):
    """The type and the UCUM unit of a point, and what its readings are if they are JSON objects of a known kind."""

    type: Annotated[ValueType, Field(strict=False)]
    unit: Unit = ""
    content: Content = ""


class MachineDescription(_Message):
    """What stores need of a machine: its template, and the type, unit and content of each point, by name."""

    template: Name
    points: Annotated[dict[Name, PointDescription], Field(max_length=MAX_POINTS), FailFast()]

    @property
    def meta(self) -> MachineMeta:
        """The same in the words of stores."""
        points = self.points.items()
        return MachineMeta(
            self.template,
            {name: point.type.value for name, point in points},
            {name: point.unit for name, point in points},
            {name: point.content for name, point in points if point.content},
        )


class Meta(MachineDescription):
    """The present description of a machine, and some that it had before, the latest first."""

    earlier: Annotated[tuple[MachineDescription, ...], Field(max_length=MAX_EARLIER), FailFast()] = ()

    @property
    def metas(self) -> list[MachineMeta]:
        """The present description, then the earlier descriptions."""
        return [self.meta, *(one.meta for one in self.earlier)]


class DisplayedPoint(PointDescription):
    """A point as people see it: `labels` name its numbers, `revised` has the parameters that its device grants.

    `every` is in seconds, as is `at_least_every`: the longest time between two readings, 0 where no limit is known.
    """

    description: Text = ""
    range: tuple[Finite, Finite] | None = None
    labels: Annotated[dict[Text, Text], Field(max_length=MAX_LABELS), FailFast()] = Field(default_factory=dict)
    every: Annotated[float, Field(ge=0, le=MAX_PERIOD)] = 0.0
    at_least_every: Annotated[float, Field(ge=0, le=MAX_PERIOD)] = 0.0
    revised: Annotated[dict[Name, Finite], Field(max_length=MAX_REVISED), FailFast()] = Field(default_factory=dict)


class DisplayedMeta(_Message):
    """The present description of a machine, with what people want to know of its points."""

    id: DescriptionId
    template: Name
    protocol: Text = ""
    points: Annotated[dict[Name, DisplayedPoint], Field(max_length=MAX_POINTS), FailFast()]


class Wanted(_Message):
    """The ids of descriptions that ingest lacks."""

    v: Annotated[int, Field(ge=1, le=1)]
    ids: Annotated[Ids, Field(min_length=1)]


def _levels(path: str) -> str:
    levels = path.split("/")
    if len(levels) != len(MachinePath._fields) or not all(levels) or set(path) & set("+#"):
        raise ValueError("is not enterprise/site/area/line/machine")
    return check_text(path, MAX_TEXT)


class KnownDescription(MachineDescription):
    """A description with the machine that it is of: `enterprise/site/area/line/machine`."""

    path: Annotated[str, AfterValidator(_levels)]

    @property
    def machine(self) -> MachinePath:
        """The path, by its levels."""
        return MachinePath(*self.path.split("/"))


def _match_ids(known: dict[str, KnownDescription]) -> dict[str, KnownDescription]:
    """Refuse a description under another's id: an id is the digest of its description."""
    for key, description in known.items():
        if description.meta.id != key:
            raise ValueError("a description does not have the id that it is listed under")
    return known


class Metadata(_Message):
    """A gateway's answer to `wanted`: the descriptions that it has, by id, and the ids that it does not know."""

    v: Annotated[int, Field(ge=1, le=1)]
    known: Annotated[
        dict[DescriptionId, KnownDescription], Field(max_length=MAX_IDS), FailFast(), AfterValidator(_match_ids)
    ] = Field(default_factory=dict)
    unknown: Ids = ()


_M = TypeVar("_M", bound=_Message)

_CONFIRMATION = TypeAdapter(Confirmation)
_GATEWAY_STATE = TypeAdapter(GatewayState)
_INGEST_STATE = TypeAdapter(IngestState)
_MACHINE_STATE = TypeAdapter(MachineState)
_LEDGER = TypeAdapter(LedgerReport)
_INGEST_REPORT = TypeAdapter(IngestReport)
_META = TypeAdapter(Meta)
_DISPLAYED_META = TypeAdapter(DisplayedMeta)
_WANTED = TypeAdapter(Wanted)
_METADATA = TypeAdapter(Metadata)


def parse_confirmation(payload: bytes) -> Confirmation:
    """Return the content of a `confirmed` message. Raises `BadMessage`."""
    return _parse(_CONFIRMATION, payload, MAX_CONFIRMATION_BYTES)


def parse_gateway_state(payload: bytes) -> GatewayState:
    """Return the content of a gateway's `state`. Raises `BadMessage`."""
    return _parse(_GATEWAY_STATE, payload, MAX_STATE_BYTES)


def parse_ingest_state(payload: bytes) -> IngestState:
    """Return the content of an ingest's `state`. Raises `BadMessage`."""
    return _parse(_INGEST_STATE, payload, MAX_STATE_BYTES)


def parse_machine_state(payload: bytes) -> MachineState:
    """Return the content of a machine's `state`. Raises `BadMessage`."""
    return _parse(_MACHINE_STATE, payload, MAX_STATE_BYTES)


def parse_ledger(payload: bytes) -> LedgerReport:
    """Return the content of a gateway's `ledger`. Raises `BadMessage`."""
    return _parse(_LEDGER, payload, MAX_STATE_BYTES)


def parse_ingest_report(payload: bytes) -> IngestReport:
    """Return the content of an ingest's `report`. Raises `BadMessage`."""
    return _parse(_INGEST_REPORT, payload, MAX_STATE_BYTES)


def parse_meta(payload: bytes) -> Meta:
    """Return the content of a machine's `meta`. Raises `BadMessage`."""
    return _parse(_META, payload, MAX_META_BYTES)


def parse_displayed_meta(payload: bytes) -> DisplayedMeta:
    """Return the content of a machine's `meta` for people. Raises `BadMessage`."""
    return _parse(_DISPLAYED_META, payload, MAX_META_BYTES)


def parse_wanted(payload: bytes) -> Wanted:
    """Return the content of a `wanted` message. Raises `BadMessage`."""
    return _parse(_WANTED, payload, MAX_STATE_BYTES)


def parse_metadata(payload: bytes) -> Metadata:
    """Return the content of a `metadata` message. Raises `BadMessage`."""
    return _parse(_METADATA, payload, MAX_META_BYTES)


def _parse(model: TypeAdapter[_M], payload: bytes, most: int) -> _M:
    if len(payload) > most:
        raise BadMessage(f"is {len(payload):,} bytes long; the limit is {most:,}")
    try:
        # pydantic's parser bounds the depth (200) and the digits of a number (4,300)
        found: _M = model.validator.validate_json(payload)  # `TypeAdapter.validate_json` costs as much again
    except ValidationError as error:
        raise BadMessage(_short(error)) from None
    except RecursionError:
        raise BadMessage("is nested too deeply") from None
    return found


def _short(error: ValidationError) -> str:
    """Return where the first errors are, and which they are, with nothing of the payload."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{_place(one['loc'])}{_WORDS.get(one['type']) or one['msg']}" for one in found[:_ERRORS_SHOWN]]
    return "; ".join(shown)[:MAX_TEXT]


def _place(location: Sequence[int | str]) -> str:
    """Return `ranges.0.1: `. Keys of objects come from outside, so all but plain names are replaced."""
    steps = [str(step) if isinstance(step, int) or _PLAIN.fullmatch(step) else "?" for step in location]
    return f"{'.'.join(steps)}: " if steps else ""


_PLAIN = re.compile(r"[a-z_\[\]]{1,20}")


# -- written --


def encode_wanted(ids: Sequence[str]) -> Iterator[bytes]:
    """Yield the `wanted` messages that ask for these ids, `MAX_IDS` in each."""
    for start in range(0, len(ids), MAX_IDS):
        yield orjson.dumps({"v": 1, "ids": ids[start : start + MAX_IDS]})


def encode_metadata(known: Mapping[str, tuple[MachinePath, MachineMeta]], unknown: Iterable[str]) -> Iterator[bytes]:
    """Yield the `metadata` messages that answer a `wanted`, each of some `ANSWER_BYTES`."""
    part: dict[str, Any] = {}
    size = 0
    for key, (path, meta) in known.items():
        described = {"path": str(path)} | write_meta(meta)
        length = len(orjson.dumps(described))
        if part and size + length > ANSWER_BYTES:
            yield orjson.dumps({"v": 1, "known": part, "unknown": []})
            part, size = {}, 0
        part[key] = described
        size += length
    if part or (unknown := list(unknown)):
        yield orjson.dumps({"v": 1, "known": part, "unknown": list(unknown)})
