"""Run a command of Lineside in a process of its own, at a low priority, with a limit of time and of output."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import gateway

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


async def output_of(
    arguments: Sequence[str],
    longest: float,
    largest: int,
    *,
    nice: int,
    content: bytes | None = None,
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Run `python -P -m` with arguments, and return its output: `largest` + 1 bytes at most.

    `content` is its standard input, `environment` has variables beside those of this process. Its errors are
    dropped. The process has ended when this returns or raises: after `longest` seconds, or when this is cancelled, it
    is killed. Raises `TimeoutError` and `OSError`.
    """
    process = await asyncio.create_subprocess_exec(
        # without the working directory (-P), which may contain something of our name
        sys.executable, "-P", "-m", *arguments,
        stdin=asyncio.subprocess.DEVNULL if content is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**_environment(), **(environment or {})},
    )  # fmt: skip
    assert process.stdout is not None  # noqa: S101 - for the type checker
    try:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, nice)
        async with asyncio.timeout(longest):
            if content is not None and process.stdin is not None:
                with suppress(ConnectionError):  # it has ended early: its output says why
                    process.stdin.write(content)
                    await process.stdin.drain()
                process.stdin.close()
            output = await process.stdout.read(largest + 1)
            while more := await process.stdout.read(largest + 1 - len(output)):
                output += more
            await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return output


def _environment() -> dict[str, str]:
    """Return the environment with the folder of this package in its path, as the tests and a source tree have it."""
    own = str(Path(gateway.__file__).parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH", ""))))}
