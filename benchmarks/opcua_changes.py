"""Measure the processor time to decode an OPC UA data change: this decoder and asyncua in turns, without I/O.

Both decode each message once before the measurement, and the results are compared. Prints medians and their ratio.

    python benchmarks/opcua_changes.py [--changes 1000] [--rounds 15]
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from drivers.opcua.codec.publish_response import Published, publish_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOURCE = datetime(2025, 11, 24, 16, 0, 0, 123456, tzinfo=UTC)
SERVER = datetime(2025, 11, 24, 16, 0, 1, tzinfo=UTC)
KIND = ua.VariantType

VALUES: dict[str, Callable[[int], ua.Variant]] = {
    "double": lambda i: ua.Variant(20.0 + i * 0.137, KIND.Double),
    "double, int32, bool, float in turn": lambda i: (
        ua.Variant(20.0 + i * 0.137, KIND.Double),
        ua.Variant(i, KIND.Int32),
        ua.Variant(i % 3 == 0, KIND.Boolean),
        ua.Variant(i / 4, KIND.Float),
    )[i % 4],
    "string": lambda i: ua.Variant(f"batch {i:06d}", KIND.String),
    "date-time": lambda _: ua.Variant(SOURCE, KIND.DateTime),
    "localized text": lambda i: ua.Variant(ua.LocalizedText(f"step {i}", "en")),
    "array of 10 double": lambda i: ua.Variant([i / 8] * 10, KIND.Double),
}


def make_message(values: Sequence[ua.Variant]) -> bytes:
    """One publish response with one change of each value, with status and both times, as an asyncua server sends it."""
    changes = [
        ua.MonitoredItemNotification(i, ua.DataValue(value, SourceTimestamp=SOURCE, ServerTimestamp=SERVER))
        for i, value in enumerate(values)
    ]
    response = ua.PublishResponse()
    response.Parameters.NotificationMessage.NotificationData = [ua.DataChangeNotification(changes)]
    return struct_to_binary(response)


def ours(message: bytes) -> Published:
    """Decode the body that asyncua's channel returns."""
    return publish_response(bytes(ua.utils.Buffer(message)))


def theirs(message: bytes) -> ua.PublishResponse:
    return struct_from_binary(ua.PublishResponse, ua.utils.Buffer(message))


def check_equal(message: bytes) -> None:
    changes = ours(message).message.changes
    (notification,) = theirs(message).Parameters.NotificationMessage.NotificationData
    if changes.values != [item.Value.Value.Value for item in notification.MonitoredItems]:
        raise SystemExit("ours and asyncua's differ: nothing to measure")


def clock(decode: Callable[[bytes], object], messages: Sequence[bytes]) -> float:
    """Return microseconds of processor time for all messages."""
    began = time.process_time()
    for message in messages:
        decode(message)
    return (time.process_time() - began) * 1e6


def compare(name: str, messages: Sequence[bytes], changes: int, rounds: int) -> None:
    for message in messages:
        check_equal(message)
    mine, others = [], []
    for _ in range(rounds):  # in turns, so that other load affects both
        mine.append(clock(ours, messages) / changes)
        others.append(clock(theirs, messages) / changes)
    print(f"{name:<36} {median(mine):9.2f} {median(others):9.2f} {median(others) / median(mine):7.1f}")


def decoding(changes: int, rounds: int) -> None:
    print(f"decoding {changes:,} changes, median of {rounds} rounds")
    print(f"{'':<36} {'ours':>9} {'asyncua':>9} {'ratio':>7}   us a change")
    for name, make in VALUES.items():
        compare(name, [make_message([make(i) for i in range(changes)])], changes, rounds)
    double = VALUES["double"]
    compare("double, a message each", [make_message([double(i)]) for i in range(changes)], changes, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    decoding(options.changes, options.rounds)


if __name__ == "__main__":
    main()
