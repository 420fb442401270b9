"""Fuzz the OPC UA driver: mutated messages of every service, on decoders and on connections in every state.

    python benchmarks/fuzz_opcua.py --inputs 10000000 --connections 10000 --seed 1

Half of the inputs go to the decoders, half to connections without sockets in each of their states; then the whole
driver connects so many times, in memory. Prints inputs per second and the growth of memory. Ends with an error, and
names the seed, at the first input that hangs or raises an error that is not in the driver's contract.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from opcua_fuzz import (  # noqa: E402 - found by the line above
    CONNECTION_STATES,
    DECODERS,
    STATES,
    fuzz_connection,
    fuzz_decoder,
    fuzz_driver,
)

ROUND = 1000
"""Inputs of one kind in a row."""

LONGEST = 5.0
"""Processor time of one input, in seconds, from which it counts as a hang."""

PAGE = 4096
"""Bytes of a page of memory."""


def main() -> None:
    """Run the fuzzers, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="messages for decoders and connections")
    parser.add_argument("--connections", type=int, default=1000, help="connections of the driver")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # asyncua logs each malformed message
    asyncio.run(messages(arguments.inputs, arguments.seed))
    outcomes = asyncio.run(connections(arguments.connections, arguments.seed))
    print(f"{arguments.connections} connections of the driver: {outcomes}")


async def messages(inputs: int, seed: int) -> None:
    """Decode and receive so many mutated messages."""
    tasks = [(fuzz_decoder, name) for name in DECODERS] + [(fuzz_connection, name) for name in CONNECTION_STATES]
    # as many inputs for the connections as for the decoders
    weights = [1] * len(DECODERS) + [max(1, len(DECODERS) // len(CONNECTION_STATES))] * len(CONNECTION_STATES)
    done, turn, longest = 0, 0, 0.0
    began, processor = time.monotonic(), time.process_time()
    memory = 0
    while done < inputs:
        for (fuzz, name), weight in zip(tasks, weights, strict=True):
            times = min(ROUND * weight, inputs - done)
            line = f"{seed} {turn} {name}"
            print(f"{done:>12,} {line:<60}", end="\r", flush=True)
            try:
                took = fuzz(name, random.Random(line), times)
            except BaseException as error:
                raise SystemExit(f"seed {line!r}: {error!r}") from error
            if took > LONGEST:
                raise SystemExit(f"seed {line!r}: one input took {took:.1f} s")
            longest, done = max(longest, took), done + times
        await asyncio.sleep(0)
        turn += 1
        if turn == 1:  # modules and caches do not count as growth
            memory = _memory()
    gc.collect()
    wall, used = time.monotonic() - began, time.process_time() - processor
    print(
        f"{done:,} messages in {wall:.0f} s ({used:.0f} s of processor time, {done / max(used, 1e-9):,.0f} a second), "
        f"the longest in {longest:.3f} s; memory {_memory()} MiB, {_memory() - memory:+} MiB since the first "
        f"{ROUND * sum(weights):,}"
    )


async def connections(times: int, seed: int) -> dict[str, int]:
    """Connect so many times, and count the outcomes."""
    outcomes: dict[str, int] = {}
    for number in range(times):
        state = STATES[number % len(STATES)]
        line = f"{seed} {number} {state}"
        print(f"{number:>12,} {line:<60}", end="\r", flush=True)
        try:
            outcome = await fuzz_driver(state, random.Random(line))
        except BaseException as error:
            raise SystemExit(f"seed {line!r}: {error!r}") from error
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def _memory() -> int:
    """Return the resident memory in MiB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE // 2**20


if __name__ == "__main__":
    main()
