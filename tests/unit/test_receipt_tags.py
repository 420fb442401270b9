"""Tags of records: random, and never the same twice, also in a process that was forked."""

from __future__ import annotations

import os

import pytest

from gateway.model.receipt import TAG_BYTES, TAGS_DRAWN, new_tag


def test_tags_differ() -> None:
    """Many are drawn from the operating system at once."""
    tags = [new_tag() for _ in range(3 * TAGS_DRAWN)]
    assert len(set(tags)) == len(tags)
    assert {len(bytes.fromhex(tag)) for tag in tags} == {TAG_BYTES}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # of Python 3.12, as threads may run
def test_a_forked_process_draws_tags_of_its_own() -> None:
    """Workers may be forked from a process that has drawn tags."""
    new_tag()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, " ".join(new_tag() for _ in range(TAGS_DRAWN)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as received:
        theirs = received.read().decode().split()
    assert os.waitpid(child, 0)[1] == 0
    ours = [new_tag() for _ in range(TAGS_DRAWN)]
    assert len({*ours, *theirs}) == 2 * TAGS_DRAWN
