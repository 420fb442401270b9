"""A Modbus machine of which everything is known: every raw type in every order, faults, and a count of its scans.

Its registers are laid out here, by hand and not by the code that is tested.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivers.base import Quality
from fakes.modbus_server import FakeModbusServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.base import Value
    from fakes.modbus_server import Asked

INTEGERS = {
    "int16": ("h", [-2, 0x1234]), "uint16": ("H", [0xFFFE, 0x1234]),
    "int32": ("i", [-123_456_789, 0x12345678]), "uint32": ("I", [0xFEDCBA98, 7]),
    "int64": ("q", [-(2**62) - 3, 0x123456789ABCDEF0]), "uint64": ("Q", [2**63 - 1, 2**53 + 1]),
}  # fmt: skip
FLOATS = {"float32": ("f", [16.04, -0.0625]), "float64": ("d", [171.8, -1e-9])}
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


@dataclass(frozen=True, slots=True)
class Known:
    """A point whose reading is known: `keys` are those of the template."""

    name: str
    keys: dict[str, Any]
    value: Value | None
    quality: Quality = Quality.GOOD
    reason: str = ""
    code: str = ""

    @property
    def unit(self) -> str:
        return self.keys.get("unit", "")


def on_the_wire(packed: bytes, order: str) -> list[int]:
    """Return the registers of a value whose bytes are given most significant first."""
    words = [packed[i : i + 2] for i in range(0, len(packed), 2)]
    if order in {"CDAB", "DCBA"}:
        words.reverse()
    if order in {"BADC", "DCBA"}:
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


class KnownModbus(FakeModbusServer):
    """The machine. A request that starts at holding register 0 begins a scan, and moves the count.

    `began` holds when each scan was begun: microseconds since the epoch.
    """

    def __init__(self) -> None:
        super().__init__(self._script)
        self.began: list[int] = []
        self.points: list[Known] = []
        self._holding = [0, 0]  # the count, as uint32
        self._input: list[int] = []
        self._bits = {1: [True, False, True, True], 2: [False, True]}
        self._numbers()
        self._texts()
        self._meanings()
        self._faults()

    def template(self) -> dict[str, Any]:
        """Return the machine type, as YAML has it."""
        points = {"count": {"address": "holding 0", "raw": "uint32", "unit": "{scan}"}}
        return {
            "format": 1,
            "protocol": "modbus",
            "defaults": {"every": "100ms"},
            "points": points | {point.name: point.keys for point in self.points},
        }

    # -- contents of the tables --

    def _numbers(self) -> None:
        for raw, (code, values) in {**INTEGERS, **FLOATS}.items():
            for order in ORDERS:
                for i, value in enumerate(values):
                    keys = {"raw": raw, "unit": "kN" if i else "r/min"} | (
                        {} if order == "ABCD" else {"order": order}
                    )
                    self._hold(
                        f"{raw}_{order.lower()}_{i}", keys, on_the_wire(struct.pack(f">{code}", value), order), value
                    )

    def _texts(self) -> None:
        for name, order, text in (
            ("badge", "ABCD", 'B-17 x,y="z"'), ("swapped", "BADC", "swapped"), ("blank", "ABCD", ""),
            ("latin", "ABCD", "M\u00fcller"),
        ):  # fmt: skip
            packed = text.encode("latin-1").ljust(16, b"\0")
            # a string is a row of registers: only the bytes within them may be swapped
            words = [packed[i : i + 2][:: -1 if order == "BADC" else 1] for i in range(0, 16, 2)]
            registers = [int.from_bytes(word, "big") for word in words]
            self._hold(name, {"raw": "string", "length": 8, "order": order}, registers, text)

    def _meanings(self) -> None:
        self._hold("scaled", {"raw": "int16", "scale": 0.1, "unit": "Cel"}, [1718], 171.8)
        self._hold("shifted", {"raw": "int16", "scale": 10, "offset": -5, "unit": "mm"}, [7], 65)
        self._hold("whole", {"raw": "uint16", "type": "float", "unit": "bar"}, [16], 16.0)
        self._hold("phase", {"raw": "uint16", "type": "string", "labels": {0: "none", 4: "steam"}}, [4], "steam")
        self._hold("step", {"raw": "uint16", "labels": {0: "none", 4: "steam"}}, [4], 4)
        self._hold("third_bit", {"bit": 3}, [0b1000], value=True)
        self._hold("fourth_bit", {"bit": 4}, [0b1000], value=False)
        self.points += [Known(f"coil_{i}", {"address": f"coil {i}"}, bit) for i, bit in enumerate(self._bits[1])]
        self.points += [
            Known(f"discrete_{i}", {"address": f"discrete {i}"}, bit) for i, bit in enumerate(self._bits[2])
        ]
        self._input += on_the_wire(struct.pack(">f", 2.5), "CDAB")
        self.points.append(Known("input", {"address": "input 0", "raw": "float32", "order": "CDAB"}, 2.5))

    def _faults(self) -> None:
        hot = Known("hot", {"raw": "int16", "unit": "Cel", "range": [0, 100]}, 250, Quality.UNCERTAIN, "out_of_range")
        self._hold(hot.name, hot.keys, [250], hot.value, hot.quality, hot.reason)
        self._hold("broken", {"raw": "float32"}, [0x7FC0, 0], None, Quality.BAD, "not_a_number")
        self._hold("huge", {"raw": "uint64"}, [0xFFFF] * 4, None, Quality.BAD, "overflow", str(2**64 - 1))
        code = "exception 2 illegal data address"
        self.points.append(Known("refused", {"address": "holding 5000"}, None, Quality.BAD, "refused", code))

    def _hold(
        self, name: str, keys: dict[str, Any], registers: Sequence[int], value: Value | None, *fault: Any
    ) -> None:
        self.points.append(Known(name, {"address": f"holding {len(self._holding)}"} | keys, value, *fault))
        self._holding += registers

    # -- how it answers --

    def _script(self, asked: Asked) -> Iterator[bytes]:
        if asked.function == 3 and asked.first == 0:
            self.began.append(time.time_ns() // 1000)
            self._holding[:2] = divmod(len(self.began), 0x10000)
        if asked.function in self._bits:
            chosen: list[Any] = self._bits[asked.function]
        else:
            chosen = self._holding if asked.function == 3 else self._input
        entries = chosen[asked.first : asked.first + asked.count]
        if len(entries) < asked.count:
            yield asked.frame(b"\x02", function=asked.function | 0x80)
            return
        if asked.function in self._bits:
            data = sum(bit << i for i, bit in enumerate(entries)).to_bytes((asked.count + 7) // 8, "little")
        else:
            data = b"".join(entry.to_bytes(2, "big") for entry in entries)
        yield asked.frame(bytes((len(data),)) + data)
