"""Shared by the fuzzers of parsers: how many examples they run, and damage to the files of a corpus.

`LINESIDE_FUZZ=100000 pytest -m fuzz tests/unit` runs so many examples of each; docs/fuzzing.md lists them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXAMPLES = int(os.environ.get("LINESIDE_FUZZ", "60"))
"""Examples of each fuzzer."""

_LONG = EXAMPLES > 1000

_SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)

JUNK = (
    b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x80", b"\n", b"{", b"}", b"[" * 200, b'"', b"'", b",", b":", b"null",
    b"true", b"-1", b"1e400", b"9" * 400, b"18446744073709551616", b"NaN",
    b'"\\ud800"', b"\xed\xa0\x80", b"\xe2\x80\xae", b"../", b"${X}", b"%00", b"&a [*a]", b"<!ENTITY a 'b'>",
    b"A" * 3000,
)  # fmt: skip
"""Bytes that parsers have stumbled over."""


def examples(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run `LINESIDE_FUZZ` examples of a fuzzer."""
    test = pytest.mark.fuzz(_SETTINGS(test))
    return pytest.mark.timeout(0)(test) if _LONG else test


def mutated(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy for the files of a corpus with a few changes: cut, replaced, repeated, inserted."""
    assert corpus, "an empty corpus"
    return st.builds(
        _change,
        st.sampled_from(list(corpus)),
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
