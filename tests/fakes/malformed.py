"""Messages that are nearly right, as a failing box or a curious client sends them."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import aiomqtt
from processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

MALFORMED = int(os.environ.get("LINESIDE_MALFORMED", "2000"))
"""Malformed messages on every topic; 100,000 in the long form."""


def malformed(count: int) -> Iterator[bytes]:
    """Yield payloads that are nearly right, and others."""
    chance = random.Random(count)  # noqa: S311 - damage, not secrets
    seeds = [
        b'{"spool":"9f2c81aa","ranges":[[1,5]],"set_aside":{"1":2},"taken":[[6,7]],"instance":"a"}',
        b'{"state":"online","instance":"5e01c9f2","host":"box","birth":1,"reason":"","since":1,"gateway":"edge-01"}',
        b'{"v":1,"ids":["5d0c9e3f7a21"]}',
        b'{"template":"t","points":{"p":{"type":"float","unit":"bar"}},"earlier":[]}',
        b'{"v":1,"gateway":"edge-01","spool":"9f2c81aa","seq":1,"scans":[{"t":1764000000123456,"values":{"p":1.5}}]}',
        b'{"v":1,"known":{"5d0c9e3f7a21":{"path":"a/b/c/d/e","template":"t","points":{}}},"unknown":["0a"]}',
    ]
    junk = [
        b"\xff\xfe\x00", b"1e300", b"18446744073709551616", b"true", b'"7"', b"-1", b"[" * 150, b"{" * 150,
        b"9" * 5000, b"null", b"NaN", b'"\\ud800"', b'"a\\u0000"', b"",
    ]  # fmt: skip
    for _ in range(count):
        made = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(made) + 1)
            made[at : at + chance.choice((0, 1, 4, 30))] = chance.choice(junk)
        yield bytes(made)


async def publish_malformed(port: int, *topics: str) -> None:
    """Publish `MALFORMED` of them on each topic, and wait until the broker has them."""
    async with aiomqtt.Client(LOOPBACK, port) as client:
        for topic in topics:
            for payload in malformed(MALFORMED):
                await client.publish(topic, payload, qos=0)
            await client.publish(topic, b"", qos=1)
