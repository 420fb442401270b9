"""Records as bytes; `docs/schema.md` describes each byte for other programs.

Values are packed with one `struct` call a scan, by a layout: the runs of values of one type. Layouts, lists of names
and all other texts are written once a record, in a table of entries that scans refer to by position.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from itertools import accumulate, chain, compress, groupby, pairwise
from math import isfinite
from reprlib import repr as short
from struct import Struct, error, pack, unpack
from typing import TYPE_CHECKING, Any, Final

from drivers.extras import instruction
from gateway.codecs.base import Undecodable
from gateway.codecs.checks import (
    MAX_BYTES,
    TIMES,
    check_bad_without_value,
    check_sender,
    check_size,
    machine_path,
    shared_names,
)
from gateway.model.reading import NamedScan
from gateway.model.receipt import TAG_BYTES
from gateway.model.record import GatewayRecord, PlacedScan, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import ModuleType

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.model.record import AnyRecord

FIRST_BYTE: Final = b"\xb1"
"""The first byte of a record; JSON, which is UTF-8, can't begin with it (RFC 3629, 3: it continues a character)."""

EXTRA: Final = "zstd"
"""The extra of the distribution that compresses and decompresses."""

VERSION = 1

MAX_READINGS = 2**18
"""Readings of a record: names and texts are written once, so that few bytes could stand for many readings."""

MAX_SCANS = 2**16
"""Scans of a record."""

MAX_ENTRIES = 2**18
"""Entries in the table of a record."""

COMPRESS_FROM = 256
"""Bytes of a body from which on it is compressed, which takes 7 µs: smaller bodies become a tenth smaller."""

LEVEL = 1
"""The level of zstd: level 3 takes more time, and makes records at most 2 % smaller."""

MAX_LAYOUTS, MAX_LAYOUT, MAX_LISTS, MAX_LIST, MAX_PATHS = 1_000, 1_024, 500, 32_768, 20_000
"""Layouts and lists of names that are cached, the bytes of each, and paths; beyond that they are made again."""

TAG_SIGN: Final = b"\xff"
"""The first byte of the entry with the tag, which no scan refers to: no other entry begins with it (RFC 3629, 3)."""

_TAG_ENTRY = len(TAG_SIGN) + TAG_BYTES

_COMPRESSED, _OF_GATEWAY = 1, 2
"""Bits of the third byte."""

_BAD, _UNCERTAIN, _CODES, _TIMES, _LATE = 1, 2, 4, 8, 16
"""Bits of the parts of a scan that most scans lack."""

_PARTS = _BAD | _UNCERTAIN | _CODES | _TIMES | _LATE

_DOUBLE, _FLOAT, _LONG, _INT, _BITS, _TEXT = "d", "f", "q", "i", "?", "s"
"""Types of runs, as in a layout. Numbers are those of `struct`."""

_WIDTHS = {"b": 1, "h": 2, "i": 4, "q": 8}
"""Types of a column of integers, which are signed, and their bytes."""

_HEAD = Struct("<cBBQ")  # first byte, version, bits, seq
_START = Struct("<qII")  # time of the first scan, entries, scans
_ROW = Struct("<qIIB")  # time since the scan before, names, layout, parts
_PLACED_ROW = Struct("<qIIIIB")  # also path and metadata id of the machine, in front of the names
_RUN = Struct("<cH")  # type, number of values
_POSITION = Struct("<I")
_SINGLE = Struct("<f")

_LONGEST_RUN = 2**16 - 1

_SMALL = bytes(top for top in range(256) if top & 0x7F < 0x42)  # noqa: PLR2004 - see `_pack_floats`
_FINITE = bytes(top for top in range(256) if top & 0x7F < 0x7F)  # noqa: PLR2004 - see `_all_finite`
"""Last bytes of doubles below 2^33, and of doubles that are neither infinite nor NaN (and below 2^1009)."""

_MANY = 8
"""If one of so many values has to be looked at, all together cost less than each alone."""

_NOT_FINITE = "a value is NaN or infinite"

_DIGITS = b"01" + bytes(254)
"""Translates the bytes 0 and 1 to digits."""

_BOOLS = [tuple(bool(byte >> bit & 1) for bit in range(8)) for byte in range(256)]
"""The eight values of a byte, lowest bit first."""


class BinaryCodec:
    """Records of one machine and of a gateway, with all that is needed to decode them.

    A body of `COMPRESS_FROM` bytes or more is compressed, if `zstandard` is installed and that makes it smaller.
    """

    first_bytes = FIRST_BYTE

    def encode(self, record: AnyRecord) -> bytes:
        """Return the bytes of a record. Raises `ValueError` or `struct.error` if no decoder would accept them."""
        if isinstance(record, GatewayRecord):
            kind, body = _OF_GATEWAY, _Writer().of_gateway(record)
        else:
            kind, body = 0, _Writer().of_machine(record)
        if len(body) > MAX_BYTES:
            raise ValueError(f"a record of {len(body)} bytes, where {MAX_BYTES} are the most")
        if len(body) >= COMPRESS_FROM and (zstd := _zstd()) is not None:
            compressed: bytes = zstd.compressor.compress(body)
            if len(compressed) < len(body):
                return _HEAD.pack(FIRST_BYTE, VERSION, kind | _COMPRESSED, record.seq) + compressed
        return _HEAD.pack(FIRST_BYTE, VERSION, kind, record.seq) + body

    def decode(self, payload: bytes) -> AnyRecord:
        """Read a record, checking everything that later steps rely on."""
        check_size(payload)
        if len(payload) < _HEAD.size or payload[:1] != FIRST_BYTE:
            raise Undecodable("is not a binary record")
        _, version, bits, seq = _HEAD.unpack_from(payload)
        if version != VERSION or bits > _COMPRESSED | _OF_GATEWAY:
            raise Undecodable(f"is not a binary record of version {VERSION}")
        body = payload[_HEAD.size :]
        if bits & _COMPRESSED:
            body = _decompress(body)
        return _Reader(body).record(seq, of_gateway=bool(bits & _OF_GATEWAY))

    def missing_extra(self) -> str:
        return EXTRA if _zstd() is None else ""


# -- compression --


class _Zstd(threading.local):
    """A compressor and a decompressor of this thread: they keep memory, and can't be used by two threads at once."""

    def __init__(self, library: ModuleType) -> None:
        self.library = library
        self.compressor = library.ZstdCompressor(level=LEVEL, write_content_size=True)
        self.decompressor = library.ZstdDecompressor()


@lru_cache(maxsize=1)
def _zstd() -> _Zstd | None:
    """Return the compression, imported when it is first needed; None if it is not installed."""
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return _Zstd(zstandard)


def _decompress(frame: bytes) -> bytes:
    zstd = _zstd()
    if zstd is None:
        raise Undecodable(f"is compressed; to read it, {instruction(EXTRA)}")
    try:
        size = zstd.library.frame_content_size(frame)
        if not 0 <= size <= MAX_BYTES:
            raise Undecodable(f"is compressed, of {size} bytes, where {MAX_BYTES} are the most")
        body: bytes = zstd.decompressor.decompress(frame, allow_extra_data=False)
    except zstd.library.ZstdError as problem:
        raise Undecodable(f"can't be decompressed: {short(str(problem))}") from problem
    return body


# -- layouts --


class _Layout:
    """The runs of equal type in the values of a scan, compiled.

    `runs` has the type, the first position and the end of each. `struct` packs all values but the bools, and texts as
    their positions in the table; the bools follow as `bits` bytes. Whether values have `numbers` only, or `doubles`
    only, says how they are checked; `numeric` marks the numbers otherwise, and `others` all values but the bools.
    """

    __slots__ = (
        "bits",
        "bools",
        "count",
        "doubles",
        "entry",
        "numbers",
        "numeric",
        "others",
        "runs",
        "struct",
        "texts",
    )

    def __init__(self, runs: Iterable[tuple[str, int]]) -> None:
        self.runs: list[tuple[str, int, int]] = []
        self.count = 0
        for code, count in runs:
            self.runs.append((code, self.count, self.count + count))
            self.count += count
        codes = {code for code, _, _ in self.runs}
        self.doubles = codes == {_DOUBLE}
        self.numbers = codes.isdisjoint((_BITS, _TEXT))
        self.bools = [(start, end) for code, start, end in self.runs if code == _BITS]
        self.texts = [(start, end) for code, start, end in self.runs if code == _TEXT]
        self.bits = (sum(end - start for start, end in self.bools) + 7) // 8
        self.others = self.numeric = b""
        if not self.numbers:
            self.others = b"".join(
                (end - start) * (b"\0" if code == _BITS else b"\1") for code, start, end in self.runs
            )
            self.numeric = b"".join(
                (end - start) * (b"\0" if code in {_BITS, _TEXT} else b"\1") for code, start, end in self.runs
            )
        self.struct = Struct("<" + "".join(_field(code, end - start) for code, start, end in self.runs))
        self.entry = b"".join(
            _RUN.pack(code.encode(), min(end - part, _LONGEST_RUN))
            for code, start, end in self.runs
            for part in range(start, end, _LONGEST_RUN)
        )


def _field(code: str, count: int) -> str:
    if code == _BITS:
        return ""
    return f"{count}I" if code == _TEXT else f"{count}{code}"


@lru_cache(maxsize=MAX_LAYOUTS)
def _layout_of_floats(code: str, count: int) -> _Layout:
    return _Layout([(code, count)])


class _Signature:
    """How values of these Python types are packed: with floats and integers of 4 or of 8 bytes."""

    __slots__ = ("_layouts", "_runs", "first_float", "floats", "has_texts")

    def __init__(self, types: tuple[type, ...]) -> None:
        codes = list(map(_code_of, types))
        self._runs = [(code, len(list(same))) for code, same in groupby(codes)]
        self.has_texts = _TEXT in codes
        self.first_float = codes.index(_DOUBLE) if _DOUBLE in codes else None
        self.floats = bytes(code == _DOUBLE for code in codes)
        self._layouts: dict[tuple[str, str], _Layout] = {}

    def layout(self, floats: str, integers: str) -> _Layout:
        """Return the layout with these types of floats and of integers."""
        known = self._layouts.get((floats, integers))
        if known is None:
            chosen = {_DOUBLE: floats, _LONG: integers}
            known = _Layout([(chosen.get(code, code), count) for code, count in self._runs])
            self._layouts[floats, integers] = known
        return known


_signatures: dict[tuple[type, ...], _Signature] = {}


def _signature_of(values: Sequence[Value]) -> _Signature:
    types = tuple(map(type, values))
    known = _signatures.get(types)
    if known is None:
        if len(_signatures) >= MAX_LAYOUTS:
            _signatures.clear()
        known = _signatures[types] = _Signature(types)
    return known


def _code_of(kind: type) -> str:
    for known, code in ((bool, _BITS), (int, _LONG), (float, _DOUBLE), (str, _TEXT)):
        if issubclass(kind, known):
            return code
    raise ValueError(f"a value is a {kind.__name__}, where bool, int, float or str belongs")


_layouts: dict[bytes, _Layout] = {}


def _read_layout(entry: bytes, values: int) -> _Layout:
    """Return the layout of an entry for this number of values."""
    known = _layouts.get(entry)
    if known is None:
        if len(entry) % _RUN.size or len(entry) > _RUN.size * values:
            raise Undecodable(f"a layout is of {len(entry)} bytes for {values} values")
        known = _Layout(list(_merged(entry)))
        if len(entry) <= MAX_LAYOUT and known.count <= MAX_READINGS:
            if len(_layouts) >= MAX_LAYOUTS:
                _layouts.clear()
            _layouts[entry] = known
    if known.count != values:
        raise Undecodable(f"a layout is of {known.count} values for {values} names")
    return known


def _merged(entry: bytes) -> Iterator[tuple[str, int]]:
    """Yield the runs of a layout; a run after a longest run of its type goes on with it."""
    before, total = "", 0
    for written, count in _RUN.iter_unpack(entry):
        code = written.decode("latin-1")
        if code not in _RUN_TYPES or not count:
            raise Undecodable(f"a layout has a run of {count} values of type {code!r}")
        if code == before:
            total += count
            continue
        if before:
            yield before, total
        before, total = code, count
    if before:
        yield before, total


_RUN_TYPES = frozenset((_DOUBLE, _FLOAT, _BITS, _TEXT, *_WIDTHS))


# -- writing --


class _Writer:
    """Build the body of one record."""

    __slots__ = ("_characters", "_data", "_entries", "_lists", "_positions", "_readings", "_rows")

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._positions: dict[str | bytes | MachinePath, int] = {}
        self._lists: dict[int, tuple[int, Sequence[str]]] = {}  # by identity; with the list, so that it stays
        self._rows: list[bytes] = []
        self._data: list[bytes] = []
        self._readings = self._characters = 0

    def of_machine(self, record: Record) -> bytes:
        self._begin(record.gateway, record.spool, record.meta)
        first = before = record.scans[0].time if record.scans else 0
        for scan, shape in zip(record.scans, self._shapes(record.scans), strict=True):
            self._rows.append(_ROW.pack(scan.time - before, *shape))
            before = scan.time
        return self._end(first, record.tag)

    def of_gateway(self, record: GatewayRecord) -> bytes:
        self._begin(record.gateway, record.spool)
        scans = [placed.scan for placed in record.scans]
        first = before = scans[0].time if scans else 0
        positions, rows = self._positions, self._rows
        for placed, (names, layout, parts) in zip(record.scans, self._shapes(scans), strict=True):
            path, meta, time = placed.path, placed.meta, placed.scan.time
            machine = positions.get(path)
            if machine is None:
                machine = self._place(path, _path_entry(path))
            meta_id = positions.get(meta)
            if meta_id is None:
                meta_id = self._place(meta, meta.encode())
            rows.append(_PLACED_ROW.pack(time - before, machine, meta_id, names, layout, parts))
            before = time
        return self._end(first, record.tag)

    def _begin(self, *texts: str) -> None:
        """Write the texts that are at fixed positions, also where two are the same."""
        for position, text in enumerate(texts):
            self._positions[text] = position
            self._entries.append(text.encode())

    def _end(self, first: int, tag: str) -> bytes:
        entries, rows = self._entries, self._rows
        if tag:
            entries.append(TAG_SIGN + bytes.fromhex(tag))
        for found, most, what in (
            (self._readings, MAX_READINGS, "readings"), (self._characters, MAX_BYTES, "characters of text"),
            (len(rows), MAX_SCANS, "scans"), (len(entries), MAX_ENTRIES, "entries"),
        ):  # fmt: skip
            if found > most:
                raise ValueError(f"a record of {found} {what}, where {most} are the most")
        start = pack(f"<qII{len(entries)}I", first, len(entries), len(rows), *map(len, entries))
        return b"".join((start, *entries, *rows, *self._data))

    def _text(self, text: str) -> int:
        position = self._positions.get(text)
        return self._place(text, text.encode()) if position is None else position

    def _place(self, key: str | bytes | MachinePath, entry: bytes) -> int:
        position = self._positions[key] = len(self._entries)
        self._entries.append(entry)
        return position

    def _names(self, names: Sequence[str]) -> int:
        entry = _names_entry(names)
        position = self._positions.get(entry)
        if position is None:
            position = self._place(entry, entry)
        self._lists[id(names)] = position, names
        return position

    def _shapes(self, scans: list[NamedScan]) -> Iterable[tuple[int, int, int]]:
        """Write the data of scans; return the positions of the names and of the layout of each, and its parts."""
        joined = _pack_joined(scans)
        if joined is None:
            return map(self._write_scan, scans)
        code, packed = joined
        self._data.append(packed)
        return (self._shape(scan, _layout_of_floats(code, len(scan))) for scan in scans)

    def _write_scan(self, scan: NamedScan) -> tuple[int, int, int]:
        _, values = scan.columns
        packed = _pack_floats(values) if _may_be_floats(values) else None
        layout, written = self._pack(values) if packed is None else packed
        self._data.append(written)
        names, position, _ = self._shape(scan, layout)
        return names, position, 0 if scan.is_good else self._write_parts(scan)

    def _shape(self, scan: NamedScan, layout: _Layout) -> tuple[int, int, int]:
        names = scan.columns[0]
        known = self._lists.get(id(names))
        position = self._positions.get(layout.entry)
        if position is None:
            position = self._place(layout.entry, layout.entry)
        self._readings += layout.count
        return self._names(names) if known is None else known[0], position, 0

    def _pack(self, values: Sequence[Value]) -> tuple[_Layout, bytes]:
        """Pack values of any types. Raises `ValueError` for NaN."""
        signature = _signature_of(values)
        floats, first = _DOUBLE, signature.first_float
        if first is not None:
            checked: Any = compress(values, signature.floats) if signature.has_texts else values
            floats_only: Any = compress(values, signature.floats)
            if not isfinite(sum(checked)) and not all(map(isfinite, floats_only)):
                raise ValueError(_NOT_FINITE)
            if _is_single(values[first]) and _are_single(tuple(compress(values, signature.floats))):
                floats = _FLOAT
        layout = signature.layout(floats, _INT)
        if layout.numbers:
            fields, bits = values, b""
        else:
            fields, bits = self._fields(layout, values)
        try:
            return layout, layout.struct.pack(*fields) + bits
        except error:  # an integer of more than 32 bits
            layout = signature.layout(floats, _LONG)
            return layout, layout.struct.pack(*fields) + bits

    def _fields(self, layout: _Layout, values: Sequence[Any]) -> tuple[list[Any], bytes]:
        """Return the fields of a layout with bools or texts, and the bits."""
        fields = list(values)
        for start, end in layout.texts:
            fields[start:end] = self._texts(fields[start:end])
        if not layout.bits:
            return fields, b""
        digits = bytes([value for start, end in layout.bools for value in values[start:end]])[::-1].translate(_DIGITS)
        return list(compress(fields, layout.others)), int(digits, 2).to_bytes(layout.bits, "little")

    def _texts(self, texts: Iterable[str]) -> list[int]:
        texts = list(texts)
        self._characters += sum(map(len, texts))
        return [self._text(text) for text in texts]

    def _write_parts(self, scan: NamedScan) -> int:
        """Write the parts that most scans lack; return their bits."""
        parts = _LATE if scan.late else 0
        for bit, named in ((_BAD, scan.bad), (_UNCERTAIN, scan.uncertain), (_CODES, scan.codes)):
            if named:
                parts |= bit
                self._write_part(named, self._texts(named.values()))
        if scan.times:
            parts |= _TIMES
            self._write_part(scan.times, [time - scan.time for time in scan.times.values()])
        return parts

    def _write_part(self, named: Iterable[str], column: list[int]) -> None:
        self._readings += len(column)
        self._data += (_POSITION.pack(self._names(tuple(named))), _column(column))


@lru_cache(maxsize=MAX_PATHS)
def _path_entry(path: MachinePath) -> bytes:
    return str(path).encode()


_name_entries: dict[int, tuple[tuple[str, ...], bytes]] = {}
"""Entries of lists of names by the identity of a list, with the list, so that it stays."""


def _names_entry(names: Sequence[str]) -> bytes:
    """Return the entry of a list of names; scans of one point group have the same list again and again."""
    known = _name_entries.get(id(names))
    if known is not None and known[0] is names:
        return known[1]
    written = "\n".join(names)
    if written.count("\n") != max(len(names) - 1, 0) or (names and not written):
        raise ValueError(f"the names {short(list(names))} have a line feed, or an empty name")
    entry = written.encode()
    if isinstance(names, tuple) and len(entry) <= MAX_LIST:
        if len(_name_entries) >= MAX_LISTS:
            _name_entries.clear()
        _name_entries[id(names)] = names, entry
    return entry


def _column(numbers: Sequence[int]) -> bytes:
    """Pack integers with the fewest bytes that are enough for each; the first byte is their type."""
    low, high = min(numbers), max(numbers)
    most = max(high, -low - 1)
    code = "b" if most < 2**7 else "h" if most < 2**15 else "i" if most < 2**31 else "q"
    return pack(f"<c{len(numbers)}{code}", code.encode(), *numbers)


def _may_be_floats(values: Sequence[Any]) -> bool:
    """Return whether it is worth to try; most scans with floats at three places have nothing else."""
    return bool(values) and type(values[0]) is type(values[-1]) is type(values[len(values) // 2]) is float


def _pack_joined(scans: Sequence[NamedScan]) -> tuple[str, bytes] | None:
    """Pack several good scans of floats with one call; return the type and the bytes, or None for other scans."""
    if len(scans) < 2:  # noqa: PLR2004 - nothing to join
        return None
    joined: list[Any] = []
    for scan in scans:
        _, values = scan.columns
        if not (_may_be_floats(values) and scan.is_good):
            return None
        joined += values
    packed = _pack_floats(joined)
    if packed is None:
        return None
    [(code, _, _)] = packed[0].runs
    return code, packed[1]


def _pack_floats(values: Sequence[Any]) -> tuple[_Layout, bytes] | None:
    """Pack values that are all floats, or return None if others are among them. Raises `ValueError` for NaN.

    `struct` packs an integer or a bool as a double, too. Such a double is a whole number: its first byte is 0 below
    2^45, and its last byte, sign and exponent, is large beyond. So only the types of few values have to be looked at.
    """
    layout = _layout_of_floats(_DOUBLE, len(values))
    try:
        packed = layout.struct.pack(*values)
    except error:  # a text
        return None
    low = packed[::8]
    whole = low.count(0)
    if whole or packed[7::8].translate(None, _SMALL):
        large = bool(packed[7::8].translate(None, _SMALL))
        if not _are_floats(values, None if large else low):
            return None
        if large and not _all_finite(values):
            raise ValueError(_NOT_FINITE)
        if whole == len(low) and _are_single(values):
            layout = _layout_of_floats(_FLOAT, len(values))
            return layout, layout.struct.pack(*values)
    return layout, packed


def _are_floats(values: Sequence[Any], low: bytes | None) -> bool:
    """Return whether all values are floats; with the first byte of each double, those where it is 0."""
    if low is None or low.count(0) * _MANY > len(low):
        return set(map(type, values)) == {float}
    position = low.find(0)
    while position >= 0:
        if type(values[position]) is not float:
            return False
        position = low.find(0, position + 1)
    return True


def _is_single(value: Any) -> bool:  # noqa: ANN401 - a float
    try:
        return bool(_SINGLE.unpack(_SINGLE.pack(value))[0] == value)
    except OverflowError:
        return False


def _are_single(floats: Sequence[Any]) -> bool:
    """Return whether all floats fit into 4 bytes without loss. NaN and infinity do not."""
    if not _is_single(floats[0]):
        return False  # as most are
    single = _layout_of_floats(_FLOAT, len(floats)).struct
    try:
        return single.unpack(single.pack(*floats)) == tuple(floats) and _all_finite(floats)
    except OverflowError:
        return False


def _all_finite(numbers: Sequence[Any]) -> bool:
    """Return whether no number is NaN or infinite; the sum says so, unless it is too large."""
    return isfinite(sum(numbers)) or all(map(isfinite, numbers))


# -- reading --

_name_lists: dict[bytes, tuple[str, ...]] = {}


class _Reader:
    """Read the body of one record."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._offset = 0
        self._entries: list[bytes] = []
        self._read_texts: dict[int, str] = {}
        self._read_names: dict[int, tuple[str, ...]] = {}
        self._readings = self._characters = 0

    def record(self, seq: int, *, of_gateway: bool) -> AnyRecord:
        time, entries, scans = self._unpack(_START)
        if entries > MAX_ENTRIES or scans > MAX_SCANS:
            raise Undecodable(
                f"has {entries} entries and {scans} scans, where {MAX_ENTRIES} and {MAX_SCANS} are the most"
            )
        self._read_entries(entries)
        gateway, spool = self._text(0), self._text(1)
        check_sender(gateway, spool, seq)
        row = _PLACED_ROW if of_gateway else _ROW
        rows = row.iter_unpack(self._take(row.size * scans))
        record: AnyRecord
        if of_gateway:
            placed: list[PlacedScan] = []
            for difference, path, meta, names, layout, parts in rows:
                time += difference
                scan = self._scan(time, names, layout, parts)
                placed.append(PlacedScan(machine_path(self._text(path)), self._text(meta), scan))
            record = GatewayRecord(gateway, spool, seq, placed, self._tag())
        else:
            found: list[NamedScan] = []
            for difference, names, layout, parts in rows:
                time += difference
                found.append(self._scan(time, names, layout, parts))
            record = Record(gateway, spool, seq, found, self._text(2), self._tag())
        if self._offset != len(self._body):
            raise Undecodable(f"has {len(self._body) - self._offset} bytes after its last scan")
        return record

    def _take(self, size: int) -> bytes:
        offset = self._offset
        self._offset = end = offset + size
        if end > len(self._body):
            raise Undecodable(f"ends after {len(self._body)} bytes, where {end} or more belong")
        return self._body[offset:end]

    def _unpack(self, form: Struct) -> tuple[Any, ...]:
        return form.unpack(self._take(form.size))

    def _read_entries(self, count: int) -> None:
        lengths = unpack(f"<{count}I", self._take(4 * count))
        start = self._offset
        self._take(sum(lengths))
        ends = list(accumulate(lengths, initial=start))
        self._entries = [self._body[begin:end] for begin, end in pairwise(ends)]

    def _column(self, count: int) -> tuple[int, ...]:
        code = self._take(1).decode("latin-1")
        width = _WIDTHS.get(code)
        if width is None:
            raise Undecodable(f"a column is of type {code!r}")
        return unpack(f"<{count}{code}", self._take(count * width))

    def _entry(self, position: int) -> bytes:
        if not 0 <= position < len(self._entries):
            raise Undecodable(f"a position is {position} in a table of {len(self._entries)} entries")
        return self._entries[position]

    def _tag(self) -> str:
        """Return the tag, which is the last entry; records of earlier versions have none."""
        last = self._entries[-1]
        return last[1:].hex() if len(last) == _TAG_ENTRY and last.startswith(TAG_SIGN) else ""

    def _text(self, position: int) -> str:
        known = self._read_texts.get(position)
        if known is None:
            try:
                known = self._read_texts[position] = self._entry(position).decode()
            except UnicodeDecodeError as problem:
                raise Undecodable(f"has a text that is not UTF-8: {problem.reason}") from problem
        return known

    def _texts(self, positions: Iterable[int]) -> list[str]:
        """Return texts of readings: each reading has its own, so their length counts for each."""
        texts = list(map(self._text, positions))
        self._characters += sum(map(len, texts))
        if self._characters > MAX_BYTES:
            raise Undecodable(f"has texts of {self._characters} characters, where {MAX_BYTES} are the most")
        return texts

    def _names(self, position: int) -> tuple[str, ...]:
        """Return a list of names, and count their readings."""
        names = self._read_names.get(position)
        if names is None:
            entry = self._entry(position)
            names = _name_lists.get(entry)
            if names is None:
                text = self._text(position)
                names = shared_names(tuple(text.split("\n")) if text else ())
                if len(entry) <= MAX_LIST:
                    if len(_name_lists) >= MAX_LISTS:
                        _name_lists.clear()
                    _name_lists[entry] = names
            self._read_names[position] = names
        self._readings += len(names)
        if self._readings > MAX_READINGS:
            raise Undecodable(f"has {self._readings} readings or more, where {MAX_READINGS} are the most")
        return names

    def _scan(self, time: int, position: int, layout: int, parts: int) -> NamedScan:
        if time not in TIMES:
            raise Undecodable(f"a time is {time}")
        if parts & ~_PARTS:
            raise Undecodable(f"a scan has unknown parts {parts:#x}")
        names = self._names(position)
        scan = NamedScan.of_columns(time, names, self._values(_read_layout(self._entry(layout), len(names))))
        if parts:
            self._read_parts(scan, names, parts)
        return scan

    def _values(self, layout: _Layout) -> Sequence[Value]:
        packed = self._take(layout.struct.size)
        values: tuple[Any, ...] = layout.struct.unpack(packed)
        if layout.doubles:
            # all are finite, unless the exponent of one is very large
            if packed[7::8].translate(None, _FINITE) and not _all_finite(values):
                raise Undecodable(_NOT_FINITE)
            return values
        if layout.numbers:
            if not _all_finite(values):
                raise Undecodable(_NOT_FINITE)
            return values
        read: list[Any] = list(values)
        if layout.bits:
            bools = list(chain.from_iterable(map(_BOOLS.__getitem__, self._take(layout.bits))))
            taken = 0
            for start, end in layout.bools:  # in order, so that all before it are in their places
                read[start:start] = bools[taken : taken + end - start]
                taken += end - start
        for start, end in layout.texts:
            read[start:end] = self._texts(read[start:end])
        if not _all_finite(list(compress(read, layout.numeric))):
            raise Undecodable(_NOT_FINITE)
        return read

    def _read_parts(self, scan: NamedScan, names: tuple[str, ...], parts: int) -> None:
        """Read the parts of a scan that most scans lack."""
        scan.late = bool(parts & _LATE)
        if parts & _BAD:
            scan.bad = bad = self._named_texts()
            check_bad_without_value(bad, names)
        if parts & _UNCERTAIN:
            scan.uncertain = self._named_texts()
        if parts & _CODES:
            scan.codes = self._named_texts()
        if parts & _TIMES:
            named = self._names(*self._unpack(_POSITION))
            times = [scan.time + difference for difference in self._column(len(named))]
            if times and not (min(times) in TIMES and max(times) in TIMES):
                raise Undecodable(f"a time is {next(time for time in times if time not in TIMES)}")
            scan.times = dict(zip(named, times, strict=True))

    def _named_texts(self) -> dict[str, str]:
        named = self._names(*self._unpack(_POSITION))
        return dict(zip(named, self._texts(self._column(len(named))), strict=True))
