"""Repeat the few tests with processes that failed in a run of all tests, alone: `make test` does it.

    pytest -n 6 -m "not fast" || python tools/repeat_failed.py $?

Six workers on two processors make each process late now and then, and some tests have time limits. The run fails if a
test fails again, if a `fast` test failed, which starts no process, or if more than `MOST` failed. A test that passes
now is named as unstable: look for its cause.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MOST = 2
"""Failed tests that may be an effect of the load; more have another cause."""

FAILED, NO_TESTS = 1, 5
"""Exit codes of pytest: tests failed, and no test was selected. Others say that it could not run them."""

CACHE = Path(".pytest_cache/v/cache/lastfailed")
"""The names of the failed tests, which pytest writes."""


def repeat(code: int) -> int:
    """Return the exit code of a run that ended with `code`, after the repetition of its failed tests."""
    if code != FAILED:
        return code
    failed = sorted(json.loads(CACHE.read_text(encoding="utf-8"))) if CACHE.exists() else []
    if not 0 < len(failed) <= MOST:
        return code
    if _pytest(failed, "-m", "fast", "--collect-only", "--quiet") != NO_TESTS:
        return code
    print(f"\nrepeating alone the tests that failed beside others: {', '.join(failed)}", flush=True)
    again = _pytest(failed)
    if again == 0:
        print(f"UNSTABLE: failed beside other tests, passed alone: {', '.join(failed)}", flush=True)
    return again


def _pytest(tests: list[str], *options: str) -> int:
    """Run tests by their names, with which pytest collects also a file that a stage ignores; return the exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    line = [sys.executable, "-m", "pytest", *options, *tests]
    return subprocess.run(line, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(repeat(int(sys.argv[1])))
