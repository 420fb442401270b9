"""Settings of all unit tests."""

from __future__ import annotations

from fuzzing import EXAMPLES
from hypothesis import settings

# the time-out of a test limits its examples, too: a slow example on a busy machine must not fail
settings.register_profile("unit", deadline=None, max_examples=EXAMPLES)
settings.load_profile("unit")
