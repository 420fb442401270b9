"""The rights that some tests need."""

from __future__ import annotations

import os

import pytest

with_policy = pytest.mark.skipif(os.geteuid() != 0, reason="a policy belongs to root, so only root can write one")
"""For tests that write a policy of this machine, as root does."""
