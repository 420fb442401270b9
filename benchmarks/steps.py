"""Measure the cost of each step of the flow, in processor time per scan of 100 points, without I/O.

With `--codecs` measure the codecs instead: floats, and floats beside integers, of one machine and of 50 in one record.
With `--proofs` measure the proofs of confirmations, with `--signatures` the signatures of records and messages.
"""

from __future__ import annotations

import argparse
import random
import time
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from drivers.base import Group, Scan
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.plan import Limits, plan
from drivers.modbus.source import ModbusSource
from gateway.codecs import CODECS, binary, decode
from gateway.common.rising_numbers import RisingNumbers
from gateway.ingest.batch import Confirmation, Sender
from gateway.ingest.confirmations import confirmation_messages
from gateway.ingest.signatures import Signatures
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan, name_scan
from gateway.model.receipt import new_tag, receipt_of
from gateway.model.record import AnyRecord, GatewayRecord, PlacedScan, Record
from gateway.mqtt.messages import parse_confirmation
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.signed import MessageSigner
from gateway.mqtt.topics import Topics
from gateway.mqtt.verifier import Verifier
from gateway.pipeline.normalize import Normalizer
from gateway.pipeline.report_by_exception import ReportByException
from gateway.publish.proofs import Proofs
from gateway.publish.signer import Signer
from gateway.settings.point import Point

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS, ROUNDS, MACHINES, BATCH = 100, 5000, 50, 50


def make_points() -> list[Point]:
    points = []
    for i in range(POINTS):
        half = POINTS // 2
        at, raw = (2 * i, "float32") if i < half else (POINTS + i - half, "uint16")
        source = ModbusSource.model_validate({"address": f"holding {at}", "raw": raw})
        rest = {} if raw == "float32" else {"scale": 0.1}
        points.append(Point.model_validate({"name": f"value_{i:03d}", "source": source, "range": [0, 70000]} | rest))
    return points


def clock(step: Callable[[], object]) -> float:
    """Return microseconds of processor time for one call, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(ROUNDS):
            step()
        best = min(best, time.process_time() - began)
    return best / ROUNDS * 1e6


def least(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return microseconds of processor time of each step: the least of many short rounds, which alternate."""
    found = dict.fromkeys(steps, float("inf"))
    for _ in range(300):
        for name, step in steps.items():
            began = time.process_time_ns()
            for _ in range(10):
                step()
            found[name] = min(found[name], (time.process_time_ns() - began) / 10_000)
    return found


def measure_codecs() -> None:
    """Print what a scan costs; each record has new scans, as the pipeline makes them."""
    drawn = random.Random(1)
    names = tuple(f"value_{i:03d}" for i in range(POINTS))
    base = [drawn.uniform(5, 500) for _ in names]
    kinds: dict[str, Callable[[int, float], float]] = {
        "floats, 2 decimals": lambda _, x: round(x, 2),
        "floats, all digits": lambda _, x: x,
        "half integers": lambda i, x: int(x) if i < POINTS // 2 else round(x, 2),
    }
    for kind, form in kinds.items():
        for machines in (1, MACHINES):
            columns = [[form(i, x * drawn.gauss(1, 0.01)) for i, x in enumerate(base)] for _ in range(machines)]

            def fresh(columns: list[list[float]] = columns) -> AnyRecord:
                scans = [NamedScan.of_columns(10**15 + 17 * n, names, column) for n, column in enumerate(columns)]
                if len(scans) == 1:
                    return Record("edge-01", "9f2c81aa", 48211, scans, "5d0c9e3f7a21")
                paths = [
                    MachinePath("acme", "north", "curing", "curing-1", f"press-{n:02d}") for n in range(len(scans))
                ]
                placed = [PlacedScan(path, "5d0c9e3f7a21", scan) for path, scan in zip(paths, scans, strict=True)]
                return GatewayRecord("edge-01", "9f2c81aa", 48211, placed)

            compressed = CODECS["binary"].encode(fresh())
            size = binary.COMPRESS_FROM
            for codec in ("json", "binary", "binary+zstd"):
                binary.COMPRESS_FROM = size if codec == "binary+zstd" else binary.MAX_BYTES
                own = CODECS[codec.partition("+")[0]]
                payload = own.encode(fresh())
                if codec == "binary+zstd" and payload[2] & 1 == 0:
                    print(f"{kind:<20} {machines:>3} {codec:<12} is not compressed: pip install 'lineside[zstd]'")
                    continue
                cost = least({
                    "make": fresh, "encode": lambda own=own: own.encode(fresh()),
                    "decode": lambda own=own, payload=payload: own.decode(payload),
                })  # fmt: skip
                encode = (cost["encode"] - cost["make"]) / machines
                print(
                    f"{kind:<20} {machines:>3} {codec:<12} encode {encode:6.2f}   decode"
                    f" {cost['decode'] / machines:6.2f} us a scan   {len(payload):>6} bytes a record"
                )
            assert CODECS["binary"].decode(compressed) == fresh()


def measure_proofs() -> None:
    """Print the cost of the proof of a record of 100 values, in the gateway and in ingest."""
    drawn = random.Random(1)
    names = tuple(f"value_{i:03d}" for i in range(POINTS))
    sender, topics = Sender("acme", "north", "edge-01", "9f2c81aa"), Topics("lineside/v1")
    path = MachinePath("acme", "north", "curing", "curing-1", "press-01")
    topic = topics.data(path)
    seqs = range(1, BATCH + 1)
    for name in ("json", "binary"):
        values = [round(drawn.uniform(5, 500), 2) for _ in names]
        scan = NamedScan.of_columns(10**15, names, values)
        payload = CODECS[name].encode(Record("edge-01", "9f2c81aa", 48211, [scan], "5d0c9e3f7a21", new_tag()))
        proofs = Proofs(topics.root)

        def send(proofs: Proofs = proofs, payload: bytes = payload) -> None:
            for seq in seqs:
                new_tag()
                proofs.sent(seq, topic, payload)

        def receive(payload: bytes = payload) -> list[Confirmation]:
            return [Confirmation(sender, seq, receipt_of(topics.place(topic), payload)) for seq in seqs]

        received = receive()
        [(_, message)] = confirmation_messages(topics, "ingest", "i", received, [])

        def check(proofs: Proofs = proofs, message: bytes = message) -> None:
            send()
            assert proofs.check(parse_confirmation(message)).ranges == [(1, BATCH)]

        cost = least({
            "send": send, "check": check, "receive": receive,
            "confirm": lambda received=received: confirmation_messages(topics, "ingest", "i", received, []),
        })  # fmt: skip
        cost["check"] -= cost["send"]
        print(
            f"{name:<7} {len(payload):>5} bytes",
            *(f"{step} {us / BATCH:5.2f} us a record" for step, us in cost.items()),
        )


def measure_signatures() -> None:
    """Print the cost of the signature of a record of 100 values, in the gateway and in ingest."""
    drawn = random.Random(1)
    names = tuple(f"value_{i:03d}" for i in range(POINTS))
    place = "acme/north/curing/curing-1/press-01/data"
    key = Ed25519PrivateKey.generate()
    signer = Signer(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signatures = Signatures({"edge-01": [b64encode(key.public_key().public_bytes_raw()).decode()]})
    for name in ("json", "binary"):
        values = [round(drawn.uniform(5, 500), 2) for _ in names]
        scan = NamedScan.of_columns(10**15, names, values)
        payload = CODECS[name].encode(Record("edge-01", "9f2c81aa", 48211, [scan], "5d0c9e3f7a21", new_tag()))
        signed = signer.sign(place, payload)
        assert signatures.fault("edge-01", place, signed) == ""
        cost = least({
            "sign": lambda payload=payload: signer.sign(place, payload),
            "verify": lambda signed=signed: signatures.fault("edge-01", place, signed),
            "decode": lambda payload=payload: decode(payload),
            "decode signed": lambda signed=signed: decode(signed),
        })  # fmt: skip
        print(
            f"{name:<7} {len(payload):>5} bytes, signed {len(signed):>5}  ",
            *(f"{step} {us:6.2f} us a record  " for step, us in cost.items()),
        )


def measure_messages() -> None:
    """Print the cost of signed messages: a state, a ledger, and the metadata of 100 points."""
    topics, key = Topics("lineside/v1"), Ed25519PrivateKey.generate()
    path = MachinePath("acme", "north", "curing", "curing-1", "press-01")
    signer = MessageSigner("edge-01", topics, RisingNumbers(Path("unused")), key)
    public = {"edge-01": [b64encode(key.public_key().public_bytes_raw()).decode()]}
    point = {"type": "float", "unit": "bar", "every": 1.0, "at_least_every": 60.0, "description": "Pressure"}
    with_keys, without = Verifier(topics.root, public), Verifier(topics.root, {})
    messages = {
        topics.state(path): {"state": "degraded", "reason": "refused", "since": 10**15, "gateway": "edge-01"},
        topics.gateway("acme", "north", "edge-01", "ledger"): {f"counter_{n}": 10**6 + n for n in range(40)},
        topics.meta(path): {"v": 1, "points": {f"value_{n:03d}": point for n in range(POINTS)}},
    }
    for topic, content in messages.items():
        payload = orjson.dumps(content)
        received = ReceivedMessage(topic, signer.sign(topic, payload))
        assert with_keys.check(received).verified
        cost = least({
            "sign": lambda topic=topic, payload=payload: signer.sign(topic, payload),
            "verify": lambda received=received: with_keys.check(received),
            "without keys": lambda received=received: without.check(received),
        })  # fmt: skip
        print(
            f"{topic.rpartition('/')[2]:<7} {len(payload):>5} bytes, signed {len(received.payload):>5}  ",
            *(f"{step} {us:6.2f} us a message  " for step, us in cost.items()),
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--codec", choices=sorted(CODECS), default="json", help="of the step encode")
    options.add_argument("--codecs", action="store_true", help="compare the codecs")
    options.add_argument("--proofs", action="store_true", help="measure the proofs of confirmations")
    options.add_argument("--signatures", action="store_true", help="measure the signatures of records and messages")
    chosen = options.parse_args()
    if chosen.codecs:
        measure_codecs()
        return
    if chosen.proofs:
        measure_proofs()
        return
    if chosen.signatures:
        measure_signatures()
        measure_messages()
        return
    points = make_points()
    connection = ModbusConnection(host="localhost")
    sources = tuple(point.source for point in points)
    group = Group("m", connection, tuple(point.name for point in points), sources, 1.0)
    requests = plan([point.source for point in points], Limits()).requests
    answers = [bytes([0x42, 0x28] * (request.count)) for request in requests]
    raw = [value for request, answer in zip(requests, answers, strict=True) for value in request.decode(answer)]
    normalizer, keeper, codec = Normalizer(points), ReportByException(points), CODECS[chosen.codec]
    times = iter(range(1, 10**15, 10_000))
    normal = Scan(group, 1, list(raw))
    normalizer.apply(normal)
    record = Record("edge", "abcd", 1, [name_scan(normal)])
    steps = {
        "decode": lambda: [request.decode(answer) for request, answer in zip(requests, answers, strict=True)],
        "normalize": lambda: normalizer.apply(Scan(group, next(times), list(raw))),
        "filter": lambda: keeper.keep(normal),
        "name": lambda: name_scan(normal),
        "encode": lambda: codec.encode(record),
    }
    total = 0.0
    print(f"{POINTS} points, {len(requests)} requests, {len(codec.encode(record))} bytes a record")
    for name, step in steps.items():
        cost = clock(step)
        total += cost
        print(f"{name:<10} {cost:7.1f} us a scan   {cost / POINTS:6.3f} us a value")
    print(f"{'together':<10} {total:7.1f} us a scan   {total / POINTS:6.3f} us a value")


if __name__ == "__main__":
    main()
