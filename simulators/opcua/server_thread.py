"""The thread of one simulated OPC UA server.

To import asyncua and to create nodes takes a second of a processor. A thread with an event loop of its own keeps that
away from the machines that are served already.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from simulators.opcua.node_names import node_names

if TYPE_CHECKING:
    from gateway.settings.factory import Machine as Configured
    from simulators.machines.outputs import MachineOutputs
    from simulators.opcua.security import Credentials, SecurityRequirements


class OpcUaServerThread(threading.Thread):
    """One OPC UA server with all machines behind its endpoint.

    `ready` is set when the server listens or has failed; `error` holds the reason of a failure.
    """

    def __init__(
        self,
        url: str,
        requirements: SecurityRequirements,
        credentials: Credentials,
        *,
        history: int = 0,
        faulty: bool = False,
    ) -> None:
        """Prepare; `history` is the number of values kept for each measured node, `faulty` lets faults act."""
        super().__init__(name=f"opcua {url}", daemon=True)
        self.url = url
        self.ready = threading.Event()
        self.error: BaseException | None = None
        self.requirements = requirements
        self.credentials = credentials
        self.history, self.faulty = history, faulty
        self.machines: list[tuple[Configured, MachineOutputs]] = []
        self._names: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event
        self._stop_requested = threading.Event()

    def has_room_for(self, machines: list[tuple[Configured, MachineOutputs]]) -> bool:
        """Return True if no node of these machines has the id of a node of this server."""
        return self._names.isdisjoint(name for configured, _ in machines for name in node_names(configured))

    def add(self, machines: list[tuple[Configured, MachineOutputs]]) -> None:
        """Add machines; call it before the thread is started."""
        self.machines += machines
        self._names.update(name for configured, _ in machines for name in node_names(configured))

    def run(self) -> None:
        """Serve until `stop`; an exception is kept in `error`."""
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self.error = error
        finally:
            self.ready.set()

    def stop(self) -> None:
        """Ask the thread to end; `join` waits for it."""
        self._stop_requested.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop_requested.is_set()

    @property
    def restarts(self) -> int:
        """How many restarts the faults of the machines have asked for."""
        return sum(outputs.network.restarts for _, outputs in self.machines)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until `stop` is called."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _serve(self) -> None:
        """Serve, and start a new server for each restart that a fault asks for."""
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        from simulators.opcua.server import serve  # noqa: PLC0415 - imports asyncua, which this thread is for

        while not self.stopping:
            await serve(self)
