"""What all unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# how long an example may take is the business of the time-out of a test: a busy machine is no failure
settings.register_profile("unit", deadline=None, max_examples=60)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _logging_stays_with_its_test() -> Iterator[None]:
    """Undo what a command does that is called in this process: the next test may look at what is logged."""
    yield
    structlog.reset_defaults()
