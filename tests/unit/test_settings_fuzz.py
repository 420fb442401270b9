"""No file is too damaged to be reported: loading any file ends soon, and reports its problems."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

ROUNDS, PARTS = 800, 8

LONGEST = 1_000_000
"""Characters of all problems together."""

SECONDS = 10.0
"""The time limit of one load on a busy machine; a load takes some milliseconds otherwise."""

FACTORY = """format: 1
factory: {enterprise: doublestar, site: huangdao}
gateway:
  id: edge-01
  spool: {folder: spool, max_size: 64MiB, when_full: drop_oldest}
  max_record: 64KiB
broker: {url: "mqtts://broker.example:8883", username: edge, password: {secret: broker_password}, keep_alive: 15s}
ingest: {id: ingest, folder: data, batch_records: 500}
stores:
  - sqlite: {path: readings.db, keep: 7d}
  - influxdb: {url: "http://tsdb:8086", org: plant, bucket: telemetry, token: {secret: token}}
lines:
  line-1:
    area: area-1
    machines:
      machine-{01..03}:
        template: TEMPLATE
        connection: {url: "URL", timeout: 2}
        points: {added: {KEYS, unit: bar, range: [0, 10], every: "{n}s"}}
"""

WORDS = [
    *"{}[],:#&*!|>'\"%@`-? \t\n\r\0\x1b\x85\u2028\u202e\ufeff",
    "null", "~", "true", "false", "0", "-1", "1e400", ".nan", "-.inf", "9" * 5000, "0x" + "f" * 5000, "1_000", "1,5",
    "0o17", "12:30:00", "2026-01-01", "{n}", "{", "}}", "{n:09}", "{n//0}", "{9**9**9}", "{" + "(" * 99 + "}",
    "press-{01..99999}", "{0..999999999}", "[" * 200, "{a: " * 200, "&a [*a]", "*a", "&a", "<<: *a", "!!binary ''",
    "!!python/object:os.system x", "!!int x", "? [a]\n: b", "---", "...", "%YAML 1.1\n---", "a: a: a", "- - - -",
    "secret: hunter2", "../../etc/passwd", "/dev/zero", "**/*", "count: 100000", "count: 999999999999", "bit: 99",
    "format: 2", "every: 0s", "every: 1e9d", "raw: string", "length: 999999", "labels: {1: a, 01: b}",
    "extends: base",
    "mode: events", "match: '**'", "scale: 1e-320", "offset: -9e307", "range: [1e308, -1e308]", "deadband: 1e400%",
]  # fmt: skip


def mutate(text: str, rng: random.Random) -> str:
    """Return a text with some random changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        end = min(end, at + rng.choice((1, 3, 10, 40)))
        lines = text.splitlines(keepends=True) or [""]
        kind = rng.randrange(9)
        if kind == 0:
            text = text[:at] + text[end:]
        elif kind == 1:
            text = text[:at] + rng.choice(WORDS) + text[at:]
        elif kind == 2:
            text = text[:at] + rng.choice(WORDS) + text[end:]
        elif kind == 3:
            text = text[:at] + text[at:end] * rng.randrange(2, 20) + text[end:]
        elif kind == 4:
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            text = "".join(lines)
        elif kind == 5:
            del lines[rng.randrange(len(lines))]
            text = "".join(lines)
        elif kind == 6:  # another value for a key
            head, colon, rest = lines[i := rng.randrange(len(lines))].partition(": ")
            lines[i] = f"{head}{colon}{rng.choice(WORDS)}\n" if colon else rest
            text = "".join(lines)
        elif kind == 7:  # another value for a key inside braces
            parts = text.split(", ")
            key, colon, _ = parts[i := rng.randrange(len(parts))].partition(": ")
            parts[i] = f"{key}{colon}{rng.choice(WORDS)}"
            text = ", ".join(parts)
        else:
            text = text[:at] + chr(rng.choice((rng.randrange(256), rng.randrange(0xD800), 0x1F600))) + text[end:]
    return text


def sources() -> list[tuple[str, str, str, str]]:
    """Return name, text, connection and the keys of a point of each bundled template."""
    found = []
    for file in sorted((bundled_config() / "machines").glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        opcua = "protocol: opcua" in text
        url = "opc.tcp://10.0.0.1:4840" if opcua else "modbus+tcp://10.0.0.1:502?unit={n}"
        found.append((file.stem, text, url, 'node: "ns=1;s=a", type: float' if opcua else "address: holding 900"))
    return found


def fuzz(folder: Path, seed: int, rounds: int, loaded: Callable[[float], None]) -> None:
    """Load damaged configurations; `loaded` gets the seconds that each took."""
    rng = random.Random(seed)  # noqa: S311 - damage, not secrets
    templates = sources()
    (folder / "machines").mkdir(exist_ok=True)
    for _ in range(rounds):
        name, template, url, keys = rng.choice(templates)
        factory = FACTORY.replace("TEMPLATE", "damaged").replace("URL", url).replace("KEYS", keys)
        if rng.random() < 0.5:
            factory = mutate(factory, rng)
        else:
            template = mutate(template, rng)
        (folder / "factory.yaml").write_bytes(factory.encode("utf-8", "surrogatepass"))
        (folder / "machines" / "damaged.yaml").write_bytes(template.encode("utf-8", "surrogatepass"))
        began = time.perf_counter()
        try:
            load_factory(folder / "factory.yaml")
        except ConfigurationError as caught:
            problems = str(caught)
        else:
            problems = "none"
        assert 0 < len(problems) < LONGEST, name
        loaded(time.perf_counter() - began)


@pytest.mark.parametrize("seed", range(PARTS))
def test_damaged_configuration_is_refused_with_its_problems_in_bounded_time(tmp_path: Path, seed: int) -> None:
    """A reload must never end a gateway, and CI never waits for a slip: each ends as a list of problems."""
    seconds: list[float] = []
    fuzz(tmp_path, seed, ROUNDS // PARTS, seconds.append)
    assert max(seconds) < SECONDS
