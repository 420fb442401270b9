"""Measure the time to subscribe to many OPC UA nodes, and to read many nodes in one request.

An asyncua server runs in another process. It contributes to the wall time, and not to the processor time. Reading is
also measured with a server that has its response prepared (`replayed_opcua.py`), similar to a PLC: this is the cost of
reading alone.

    python benchmarks/opcua_subscribe.py [--nodes 10000] [--read 1000] [--rounds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import time
from statistics import median
from typing import TYPE_CHECKING

import replayed_opcua

from drivers.base import Group
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

NAMESPACE = "urn:lineside:benchmark"
LOADING = 300.0
"""Seconds that the server may need to create its nodes."""


def serve(port: int, nodes: int, ready: Event) -> None:
    """Serve nodes whose values do not change."""
    from asyncua import Server, ua  # noqa: PLC0415 - only this process needs it

    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it warns that there is no security

    async def main() -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{LOOPBACK}:{port}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        for i in range(nodes):
            await server.nodes.objects.add_variable(ua.NodeId(f"Node.{i}", index), f"Node.{i}", i / 8)
        async with server:
            ready.set()
            await asyncio.Event().wait()

    asyncio.run(main())


def make_driver(port: int, nodes: int, mode: str) -> OpcUaDriver:
    connection = OpcUaConnection.from_url(
        f"opc.tcp://{LOOPBACK}:{port}", {"security": "none", "namespace": NAMESPACE, "timeout": 60.0}
    )
    names = tuple(f"Node.{i}" for i in range(nodes))
    sources = tuple(OpcUaSource.model_validate({"node": f"s={name}", "mode": mode}) for name in names)
    group = Group("machine", connection, names, sources, 1.0, pushed=mode == "subscribe")
    return OpcUaDriver(connection, [group], Clock())


async def subscribe(port: int, nodes: int) -> None:
    """Print the time until every node is subscribed to, and until every node has sent its value."""
    driver = make_driver(port, nodes, "subscribe")
    began, cost = time.perf_counter(), time.process_time()
    async with driver:
        report(f"{nodes:,} items subscribed", time.perf_counter() - began, time.process_time() - cost)
        heard: set[int] = set()
        while len(heard) < nodes:
            scan = await driver.receive()
            heard.update(scan.points if scan.points is not None else range(nodes))
            if scan.faults:
                raise SystemExit(f"not all could be subscribed to: {next(iter(scan.faults.values()))}")
        report("every first value here", time.perf_counter() - began, time.process_time() - cost)


async def read(port: int, nodes: int, rounds: int, server: str) -> None:
    """Print the median time of a read."""
    driver = make_driver(port, nodes, "poll")
    took, costs = [], []
    async with driver:
        for _ in range(rounds):
            began, cost = time.perf_counter(), time.process_time()
            scan = await driver.read(driver.groups[0])
            took.append(time.perf_counter() - began)
            costs.append(time.process_time() - cost)
            if scan.faults:
                raise SystemExit(f"not all could be read: {next(iter(scan.faults.values()))}")
    report(f"{nodes:,} nodes read from {server}", median(took), median(costs))


def report(what: str, seconds: float, processor: float) -> None:
    print(f"{what:<34} {seconds * 1000:9.1f} ms passed {processor * 1000:9.1f} ms of our processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--read", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    port, ready = free_port(), context.Event()
    server = context.Process(target=serve, args=(port, max(options.nodes, options.read), ready), daemon=True)
    replaying, replayed, ready_too = free_port(), None, context.Event()
    server.start()
    try:
        if not ready.wait(LOADING):
            raise SystemExit("the server did not come up")
        asyncio.run(subscribe(port, options.nodes))
        asyncio.run(read(port, options.read, options.rounds, "asyncua"))
        server.terminate()
        arguments = (replaying, NAMESPACE, 1.0, ready_too, context.Value("q", 0))
        replayed = context.Process(target=replayed_opcua.serve, args=arguments, daemon=True)
        replayed.start()
        if not ready_too.wait(LOADING):
            raise SystemExit("the replaying server did not come up")
        asyncio.run(read(replaying, options.read, options.rounds, "a replay"))
    finally:
        for process in (server, replayed):
            if process is not None:
                process.terminate()
                process.join()


if __name__ == "__main__":
    main()
