"""Compiled files: Python runs them in place of their source, and a change there is a change of the software.

A compiled file is a header and marshalled code (PEP 3147, PEP 552). Its header says how Python finds out that the
source has changed, and nothing about the code. So the source, whose hash is right, is compiled and compared. The
bytes of the same code differ from run to run, so the objects are compared: they are equal if their instructions,
constants, names and lines are.
"""

from __future__ import annotations

import marshal
import sys
import warnings
from importlib.util import MAGIC_NUMBER
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEADER_BYTES = 16
"""The size of the header."""

CACHE = "__pycache__"
"""The name of the folders of compiled files."""

LARGEST = 64 * 2**20
"""Bytes of a file that is compiled, or compared."""

_TAG = f".{sys.implementation.cache_tag}"

_ENDINGS = {f"{_TAG}.pyc": 0, f"{_TAG}.opt-1.pyc": 1, f"{_TAG}.opt-2.pyc": 2}
"""The endings of the compiled files that this Python runs, with their level of optimization."""


def source_of(compiled: Path) -> tuple[Path, int] | None:
    """Return the source of a compiled file and its level of optimization; None if this Python never runs it."""
    for ending, level in _ENDINGS.items():
        if compiled.name.endswith(ending):
            return compiled.parent.parent / f"{compiled.name.removesuffix(ending)}.py", level
    return None


def is_compiled_from(compiled: Path, source: Path, level: int) -> bool:
    """Return whether a compiled file has the code of a source, or is one that Python ignores. Raises `OSError`."""
    content = _content(compiled)
    if content[: len(MAGIC_NUMBER)] != MAGIC_NUMBER:
        return True  # of another version of Python: it is made again, and never run
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the source, which nobody can change here
            expected = compile(_content(source), str(source), "exec", dont_inherit=True, optimize=level)
    except (SyntaxError, ValueError):
        return False  # there is no code that could be right
    try:
        return bool(marshal.loads(content[HEADER_BYTES:]) == expected)  # noqa: S302 - it is compared, and not run
    except (EOFError, ValueError, TypeError):
        return False


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(27, f"it has more than {LARGEST:,} bytes", str(file))
    return content
