"""An OPC UA server that is not asyncua: node-opcua, with a machine that has a variable of every kind.

    peer = await NodeOpcUa.start(tmp_path, counterPeriod=20, limits={"maxNodesPerRead": 100})
    peer.set("Setpoint", 7.5, time=1_764_000_000_123_456)
    assert peer.counts().sessions == 1

Its nodes are in peers/opcua/machine.js, its options in peers/opcua/server.js.
"""

from __future__ import annotations

import json
import signal
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from processes import LOOPBACK, Scope, free_port, need, until
from servers import Server

PEER = Path(__file__).parent / "peers" / "opcua"

MACHINE = "urn:lineside:peer"
"""The namespace of the machine's nodes."""

TYPES = "urn:lineside:peer:types"
"""The namespace of its structures."""

SCALARS: dict[str, Any] = {
    "Boolean": True,
    "SByte": -128,
    "Byte": 255,
    "Int16": -32768,
    "UInt16": 65535,
    "Int32": -(2**31),
    "UInt32": 2**32 - 1,
    "Int64": -(2**63),
    "UInt64": 2**64 - 1,
    "Float": 1.5,
    "Double": 0.1,
    "String": "Grüße, 轮胎",
}
"""The value of `Scalar.<type>`, for the types that a reading can have."""

KEEP = object()
"""Stands for the value that a variable has."""


class Counts(NamedTuple):
    """The resources of clients on the server. `items` are monitored items, `channels` secure channels."""

    sessions: int
    subscriptions: int
    items: int
    channels: int


class NodeOpcUa(Server):
    """The server. Its key and certificate are kept in `certificates`: the first server of a process makes them.

    Another `certificate` than the default is made by each server. See server.js for the `options`; changes apply from
    the next start on.
    """

    program = "node-opcua"

    _own: ClassVar[dict[str, bytes]] = {}  # content of a made key and certificate: a second of processor time each

    def __init__(self, folder: Path, *, port: int | None = None, scope: Scope = "function", **options: Any) -> None:
        """Prepare; nothing runs. See server.js for the options."""
        super().__init__(folder, port=port, scope=scope)
        self.url = f"opc.tcp://{LOOPBACK}:{self.port}"
        self.certificates = self.folder / "certificates"
        self.options = options
        self._control = free_port()

    @property
    def certificate(self) -> Path:
        """Its own certificate, PEM."""
        return self.certificates / "own" / "certs" / "certificate.pem"

    def command(self) -> list[str]:
        node = need("node")
        installed = PEER / "node_modules" / ".installed"
        if not installed.exists() or installed.read_bytes() != (PEER / "package-lock.json").read_bytes():
            need("node-opcua (of npm)")
        if self._own and "certificate" not in self.options and not self.certificates.exists():
            for name, content in self._own.items():
                file = self.certificates / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        ours = {"port": self.port, "control": self._control, "certificates": str(self.certificates)}
        file = self.folder / "config.json"
        file.write_text(json.dumps(self.options | ours), encoding="utf-8")
        return [node, str(PEER / "server.js"), str(file)]

    def answers(self) -> bool:
        try:
            self.control("counts")
        except (OSError, HTTPException):
            return False
        if not self._own and "certificate" not in self.options:
            files = (file for file in (self.certificates / "own").rglob("*") if file.is_file())
            self._own.update((str(file.relative_to(self.certificates)), file.read_bytes()) for file in files)
        return True

    def control(self, command: str, **arguments: Any) -> Any:
        """Send a command of control.js, and return its response; the test fails if the server refuses it."""
        connection = HTTPConnection(LOOPBACK, self._control, timeout=30)
        try:
            connection.request("POST", f"/{command}", json.dumps(arguments))
            answer = connection.getresponse()
            answered = json.loads(answer.read())
        finally:
            connection.close()
        assert answer.status == 200, f"{command}: {answered}"
        return answered

    def set(self, node: str, value: Any = KEEP, *, status: str = "Good", time: int | None = None) -> None:
        """Give a variable a value, a status by its name, and a source time in microseconds since the epoch."""
        given = {} if value is KEEP else {"value": value}
        self.control("set", node=node, status=status, **given, **({} if time is None else {"time": time}))

    def set_and_sample(self, node: str, value: Any, *, time: int | None = None) -> None:
        """Give a variable a value and a source time, and return after its monitored items have sampled it."""
        self.control(
            "setAndSample", node=node, value=value, status="Good", **({} if time is None else {"time": time})
        )

    def set_at_once(self, node: str, *values: Any, since: int) -> None:
        """Give a variable values a millisecond apart from a source time on, all between two looks of the server."""
        all_ = [{"value": value, "time": since + 1000 * i} for i, value in enumerate(values)]
        self.control("setAll", node=node, all=all_)

    def get(self, node: str) -> Any:
        """Return the value that a variable has."""
        return self.control("get", node=node)["value"]

    def add(self, node: str, value: Any, kind: str) -> None:
        """Add a variable of a built-in type such as `Double`."""
        self.control("add", node=node, value=value, type=kind)

    def add_ranged(self, node: str, value: float, low: float, high: float) -> str:
        """Add a variable of degrees Celsius with a range, and return its name."""
        self.control("addRanged", node=node, value=value, low=low, high=high)
        return node

    def delete(self, node: str) -> None:
        """Remove a node."""
        self.control("delete", node=node)

    def event(self, message: str, severity: int = 500, kind: str = "BaseEventType") -> None:
        """Raise an event of the machine's object, of a type of namespace 0."""
        self.control("raise", message=message, severity=severity, type=kind)

    def freeze(self) -> None:
        """Let it hang, with its connections open; no command is answered until `thaw`."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def counts(self) -> Counts:
        """Return the present resources of clients on the server, whether the clients know of them or not."""
        counts = self.control("counts")
        return Counts(*(counts[name] for name in Counts._fields))

    def most(self, service: str) -> int:
        """Return how many nodes were asked for at most in one request of a service such as `Read`."""
        requests: dict[str, dict[str, int]] = self.control("requests")
        return requests.get(service, {"most": 0})["most"]

    def times(self, service: str) -> int:
        """Return how often a service such as `Read` was asked for."""
        requests: dict[str, dict[str, int]] = self.control("requests")
        return requests.get(service, {"times": 0})["times"]

    async def has(self, seconds: float = 90.0, **wanted: int) -> None:
        """Wait until some of the counts are as wanted: `sessions=1`."""

        def look() -> bool:
            counts = self.counts()._asdict()
            return all(counts[name] == number for name, number in wanted.items())

        await until(look, f"{self.name} has {wanted}", seconds)
