"""One entry of the audit log.

    {"action":"login","after":null,"before":null,"from":"10.20.1.7","hash":"9c1f...","n":12,"object":"","outcome":"done",
     "previous":"51aa...","time":1764568800000000,"who":"anna"}

The canonical bytes are the entry without `hash` and `signature` as JSON with sorted keys and without blanks; `hash`
is their SHA-256. The last entry of each commit names its `key`, and has the `signature` (Ed25519, RFC 8032) of its
hash. A line of a file is the whole entry in the same form, so every change of a byte is found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from drivers.redaction import redact
from gateway.model.text import clean_text

FIRST = "0" * 64
"""The `previous` of the first entry."""

OWN = "lineside"
"""The `who` of entries about the log itself, and of a service without an id."""

RENEWED = "audit-key-renewed"
"""The action of the last entry that a key signs: `after` has the id and the public key of its successor."""

LONGEST_WHO, LONGEST_ADDRESS, LONGEST_ACTION, LONGEST_OBJECT, LONGEST_TEXT = 128, 64, 64, 512, 512
"""Characters of the parts of an entry."""

MOST_ITEMS, MOST_LEVELS, MOST_BYTES = 50, 4, 8_192
"""Items of a list or mapping, levels of them, and bytes of `before` and of `after`."""

LONGEST_LINE = 64 * 2**10
"""Bytes of a line that is read."""

_KEYS = frozenset({"n", "time", "who", "from", "action", "object", "before", "after", "outcome", "previous", "hash"})
_OPTIONAL = frozenset({"key", "signature"})


class Malformed(ValueError):
    """A line is not an entry; the text says why."""


@dataclass(frozen=True, slots=True)
class Action:
    """An entry before it has its place in the chain. `time` is in microseconds since the epoch, UTC."""

    time: int
    who: str
    address: str
    action: str
    object: str
    before: Any
    after: Any
    outcome: str

    def numbered(self, n: int, previous: str, key: str = "") -> dict[str, Any]:
        """Return the entry with its place in the chain and its hash; `key` names the key that will sign it."""
        entry: dict[str, Any] = {
            "n": n, "time": self.time, "who": self.who, "from": self.address, "action": self.action,
            "object": self.object, "before": self.before, "after": self.after, "outcome": self.outcome,
            "previous": previous,
        }  # fmt: skip
        if key:
            entry["key"] = key
        return entry | {"hash": hash_of(entry)}


def clean_action(
    time: int, action: str, who: str, address: str, object_: str, before: object, after: object, outcome: str
) -> Action:
    """Return an action with clean, bounded texts and without secrets."""
    return Action(
        time,
        _clean(who, LONGEST_WHO),
        _clean(address, LONGEST_ADDRESS),
        _clean(action, LONGEST_ACTION),
        _clean(object_, LONGEST_OBJECT),
        _bounded(before),
        _bounded(after),
        _clean(outcome, LONGEST_TEXT),
    )


def _clean(text: str, most: int) -> str:
    return clean_text(redact(text[: 4 * most]), most)


def _bounded(value: object) -> Any:  # noqa: ANN401 - JSON
    plain = _plain(value, 0)
    encoded = orjson.dumps(plain)
    if len(encoded) <= MOST_BYTES:
        return plain
    return f"{clean_text(encoded[:LONGEST_TEXT].decode(errors='replace'), LONGEST_TEXT)}... ({len(encoded):,} bytes)"


def _plain(value: object, level: int) -> Any:  # noqa: ANN401 - JSON
    """Return a value of JSON; what JSON has no form for becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if level < MOST_LEVELS:
        if isinstance(value, dict):
            pairs = list(value.items())[:MOST_ITEMS]
            return {_clean(str(key), LONGEST_ACTION): _plain(one, level + 1) for key, one in pairs}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(one, level + 1) for one in list(value)[:MOST_ITEMS]]
    return _clean(str(value), LONGEST_TEXT)


def successor_of(entry: dict[str, Any]) -> tuple[str, str]:
    """Return id and public key of the successor that an entry names; empty texts of another entry."""
    after = entry["after"]
    if entry["action"] != RENEWED or entry["who"] != OWN or not isinstance(after, dict):
        return "", ""
    return str(after.get("key", "")), str(after.get("public", ""))


def canonical(entry: dict[str, Any]) -> bytes:
    """Return the bytes that are hashed."""
    hashed = {key: value for key, value in entry.items() if key not in {"hash", "signature"}}
    return orjson.dumps(hashed, option=orjson.OPT_SORT_KEYS)


def hash_of(entry: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical bytes, as 64 hexadecimal digits."""
    return sha256(canonical(entry)).hexdigest()


def line_of(entry: dict[str, Any]) -> bytes:
    """Return an entry as a line of a file."""
    return orjson.dumps(entry, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the entry of a line with its line feed, whose hash is right. Raises `Malformed`."""
    if len(line) > LONGEST_LINE:
        raise Malformed(f"the line has {len(line):,} bytes")
    try:
        entry = orjson.loads(line)
    except ValueError:
        raise Malformed("the line is not JSON") from None
    if not isinstance(entry, dict) or not entry.keys() >= _KEYS or entry.keys() - _KEYS - _OPTIONAL:
        raise Malformed("the line does not have the keys of an entry")
    texts = (entry[key] for key in ("who", "from", "action", "object", "outcome", "previous", "hash"))
    optional = (entry[key] for key in _OPTIONAL & entry.keys())
    if type(entry["n"]) is not int or type(entry["time"]) is not int or entry["n"] < 1:
        raise Malformed("n or time is not a number")
    if not all(isinstance(text, str) for text in (*texts, *optional)):
        raise Malformed("a text of the entry is not text")
    if line_of(entry) != line:
        raise Malformed("the line was written by another program")
    if hash_of(entry) != entry["hash"]:
        raise Malformed("the entry was changed: its hash does not match")
    if ("key" in entry) is not ("signature" in entry):
        raise Malformed("the signature was removed or added")
    return entry
