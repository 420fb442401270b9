"""Shared by the fuzzers of parsers: how many examples they run, and damage to the files of a corpus.

`make fuzz FUZZ=100000` runs so many examples of each; docs/fuzzing.md lists them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CORPUS = Path(__file__).parent / "corpus"

EXAMPLES = int(os.environ.get("LINESIDE_FUZZ", "30"))
"""Examples of each fuzzer and each property: few, since each run draws others, and `make fuzz` searches deeper."""

LONG = EXAMPLES > 1000
"""Whether a run takes longer than the time limit of a test."""

FUZZERS = (
    ("unit/test_modbus_framing.py", "test_any_bytes_give_only_frames_that_were_sent_whole"),
    ("unit/test_modbus_framing.py", "test_after_any_bytes_the_next_answer_is_found"),
    ("unit/test_modbus_client.py", "test_any_bytes_are_an_answer_or_a_documented_error"),
    ("unit/test_opcua_malformed.py", "test_any_bytes_are_decoded_or_refused"),
    ("unit/test_opcua_structures.py", "test_any_bytes_are_read_or_refused"),
    ("unit/test_mqtt_packets.py", "test_bytes_of_any_kind_raise_nothing_else"),
    ("unit/test_messages.py", "test_bytes_and_json_of_any_kind_raise_nothing_but_bad_message"),
    ("unit/test_json_codec.py", "test_nothing_that_is_nearly_a_record_trips_the_decoder"),
    ("unit/test_binary_codec.py", "test_nothing_that_is_nearly_a_record_trips_the_decoder"),
    ("unit/test_ingest_decoder.py", "test_nothing_that_can_be_published_stops_the_decoder"),
    ("unit/test_expressions.py", "test_any_text_is_an_expression_or_a_mistake"),
    ("unit/test_import_hostile.py", "test_any_bytes_are_refused_in_a_line"),
    ("unit/test_import_mutations.py", "test_wrong_values_in_json_are_left_out_with_a_note"),
    ("unit/test_users.py", "test_any_bytes_are_users_or_are_refused"),
    ("unit/test_audit_log.py", "test_any_changed_byte_is_found"),
    ("unit/test_trends.py", "test_any_text_is_a_time_or_refused"),
)
"""Fuzzers beside those of unit/test_fuzz.py, which are in the file of their parser: conftest.py marks them."""

SETTINGS: dict[str, Any] = {
    "max_examples": EXAMPLES,
    "deadline": None,
    "suppress_health_check": [
        HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture,
    ],
}  # fmt: skip

JUNK = (
    b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x80", b"\n", b"{", b"}", b"[" * 200, b'"', b"'", b",", b":", b"null",
    b"true", b"-1", b"1e400", b"9" * 400, b"18446744073709551616", b"NaN", b'"\\ud800"', b"\xed\xa0\x80",
    b"\xe2\x80\xae", b"../", b"${X}", b"%00", b"&a [*a]", b"<!ENTITY a 'b'>", b"A" * 3000,
)  # fmt: skip
"""Bytes that parsers have stumbled over."""


def examples(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run `LINESIDE_FUZZ` examples of a fuzzer."""
    found: Callable[..., Any] = pytest.mark.fuzz(settings(**SETTINGS)(test))
    return pytest.mark.timeout(0)(found) if LONG else found


@cache
def corpus(name: str) -> list[bytes]:
    """Return the files of a corpus, by name."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]


def mutated(source: str | bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for the files of a corpus, or some bytes, with a few changes: cut, replaced, inserted."""
    return st.builds(
        _change,
        st.sampled_from(corpus(source) if isinstance(source, str) else [source]),
        st.lists(
            st.tuples(
                st.floats(0, 1),
                st.sampled_from((0, 0, 1, 2, 8, 100)),
                st.one_of(st.sampled_from(JUNK), st.binary(max_size=4)),
                st.integers(1, 3),
            ),
            max_size=4,
        ),
    )


def _change(data: bytes, changes: Sequence[tuple[float, int, bytes, int]]) -> bytes:
    for place, length, junk, times in changes:
        at = int(place * len(data))
        data = data[:at] + junk * times + data[at + length :]
    return data
