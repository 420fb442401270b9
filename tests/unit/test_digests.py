"""The digest of a configuration: 256 bits, the same in any folder, and known to those with 12 digits of it."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.common.digests import same_digest, short_digest
from gateway.settings.load import load_factory

LONG = "0123456789abcdef" * 4


def test_a_configuration_has_a_digest_of_256_bits() -> None:
    """Twelve digits were 48 bits: two files with one digest could be searched for."""
    assert re.fullmatch(r"[0-9a-f]{64}", load_factory(Path("config/tire-plant.yaml")).digest)


def test_a_service_of_an_earlier_version_runs_the_same_configuration() -> None:
    """It publishes the first 12 digits; nothing else is accepted as the beginning."""
    assert same_digest(LONG, LONG)
    assert same_digest(LONG, LONG[:12])
    assert same_digest(LONG[:12], LONG)
    assert not same_digest(LONG, LONG[:11])
    assert not same_digest(LONG, LONG[:16])
    assert not same_digest(LONG, "")
    assert not same_digest(LONG, "1" + LONG[1:])
    assert not same_digest(LONG, "1" + LONG[1:12])
    assert short_digest(LONG) == LONG[:16]
