"""What all unit tests share."""

from __future__ import annotations

from hypothesis import settings

# how long an example may take is the business of the time-out of a test: a busy machine is no failure
settings.register_profile("unit", deadline=None, max_examples=60)
settings.load_profile("unit")
