"""Measure the start of a simulated OPC UA server: with asyncua's address space, and with a stored address space.

python benchmarks/opcua_servers.py [--servers 10]

Each way runs in a process of its own. The memory is the growth of the process.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time

import psutil

WAYS = {"asyncua": "each makes its own", "made": "made by the first", "kept": "kept by an earlier process"}


async def measure(way: str, servers: int) -> None:
    from asyncua import Server  # noqa: PLC0415 - only this process needs it

    from simulators.opcua import standard_nodes as standard  # noqa: PLC0415

    if way == "made":
        standard.cache_file = lambda: None
    process, kept = psutil.Process(), []
    for number in range(servers):
        memory, began = process.memory_info().rss, time.process_time()
        server = Server() if way == "asyncua" else standard.new_server()
        await server.init()
        kept.append(server)
        took, grown = time.process_time() - began, process.memory_info().rss - memory
        if number in {0, servers - 1}:
            print(f"{WAYS[way]:28} server {number + 1:3}: {took * 1000:7.1f} ms {grown / 2**20:6.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=10)
    parser.add_argument("--way", choices=WAYS, help="only this way, in this process")
    options = parser.parse_args()
    if options.way:
        asyncio.run(measure(options.way, options.servers))
        return
    subprocess.run([sys.executable, "-m", "simulators.opcua.standard_nodes"], check=True)
    for way in WAYS:
        subprocess.run([sys.executable, __file__, "--way", way, "--servers", str(options.servers)], check=True)


if __name__ == "__main__":
    main()
