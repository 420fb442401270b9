"""Fuzz the OPC UA driver: mutated answers of every service, on the decoders and on connections in every state.

    python benchmarks/fuzz_opcua.py --inputs 10000000 --connections 10000 --seed 1

Ends with an error, and names the seed, at the first answer that hangs or raises an error that is not in the
driver's contract.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from opcua_fuzz import RESPONSES, STATES, fuzz_decoder, fuzz_driver  # noqa: E402 - found by the line above

ROUND = 1000
"""Inputs of one service in a row."""


def main() -> None:
    """Run both fuzzers, and print what they did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="answers for the decoders")
    parser.add_argument("--connections", type=int, default=1000, help="connections of the driver")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began, longest = time.monotonic(), 0.0
    for number in range(0, arguments.inputs, ROUND * len(RESPONSES)):
        for name in RESPONSES:
            seed = f"{arguments.seed} {number} {name}"
            print(seed, end="\r", flush=True)
            longest = max(longest, fuzz_decoder(name, random.Random(seed), ROUND))
    print(f"{arguments.inputs} answers decoded in {time.monotonic() - began:.0f} s, the longest in {longest:.3f} s")
    outcomes = asyncio.run(connections(arguments.connections, arguments.seed))
    print(f"{arguments.connections} connections: {outcomes}; {_memory()} MiB at the most")


async def connections(times: int, seed: int) -> dict[str, int]:
    """Connect so many times, and count the outcomes."""
    outcomes: dict[str, int] = {}
    for number in range(times):
        state = STATES[number % len(STATES)]
        print(f"{seed} {number} {state}", end="\r", flush=True)
        outcome = await fuzz_driver(state, random.Random(f"{seed} {number} {state}"))
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
