"""Alarms of an OPC UA server that is not ours, from its conditions to the list of operators and the store."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from opcua_peer import MACHINE, NodeOpcUa
from processes import LOOPBACK, Lineside, lineside, until, write_factory
from servers import Mosquitto

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 90.0

KEEP_ALIVE = 2
"""Seconds; after six of them the server ends the subscription of a gateway that was killed."""

LEVEL = "ns=3;s=LevelAlarm"

TEMPLATE = """
format: 1
protocol: opcua
points:
  setpoint: {node: s=Setpoint, type: float}
  events: {node: s=Machine, mode: events}
alarms:
  far: {point: setpoint, high: 1000000}
"""


class Plant:
    """A machine with a level whose alarm the server judges, and the services that follow it."""

    def __init__(self, folder: Path, peer: NodeOpcUa, broker: Mosquitto) -> None:
        self.peer = peer
        self.database = folder / "readings.db"
        (folder / "machines").mkdir()
        (folder / "machines" / "peer.yaml").write_text(TEMPLATE)
        connection = f"opc.tcp://{LOOPBACK}:{peer.port}?security=none&namespace={MACHINE}&keep_alive={KEEP_ALIVE}"
        self.config = write_factory(
            folder / "factory.yaml",
            gateway={
                "id": "edge-01", "spool": {"folder": str(folder / "spool")}, "commands": {"unsigned_alarms": True},
            },
            broker={"url": broker.url},
            ingest={"folder": str(folder)},
            stores=[{"sqlite": {"path": str(self.database)}}],
            lines={"line": {"area": "area", "machines": {"m-01": {"template": "peer", "connection": connection}}}},
        )  # fmt: skip

    def transitions(self) -> list[tuple[str, str]]:
        """Return the transitions in the store: the alarm, `branch` for one of a branch, and its state."""
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self.database)) as db:
            found = db.execute("select alarm, state from alarms order by time")
            return [("level" if alarm == LEVEL else "branch", state) for alarm, state in found]
        return []

    def level(self) -> list[str]:
        """Return the stored states of the level's alarm itself."""
        return [state for alarm, state in self.transitions() if alarm == "level"]

    async def shows(self, *states: str, standing: int = 1) -> list[dict[str, str]]:
        """Wait until the level's alarm has these states at last; return so many alarms that are shown."""
        await until(lambda: self.level()[-len(states) :] == list(states), " ".join(states), SECONDS)
        alarms: list[dict[str, str]] = []
        for _ in range(20):  # the broker has them at the same time, about
            shown = await lineside("alarms", str(self.config), "--format", "json")
            alarms = json.loads(shown.text)["alarms"]
            if len(alarms) == standing:
                break
        assert len(alarms) == standing
        return alarms


async def test_alarms_of_a_server_are_followed_over_restarts_of_both_ends(tmp_path: Path):
    """A refresh at a new connection repeats nothing, and ends what ended; a branch ends when it is acknowledged."""
    peer, broker = await NodeOpcUa.start(tmp_path), await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, peer, broker)
    ingest = await Lineside.start("ingest", plant.config)
    gateway = await Lineside.start("run", plant.config)
    await peer.has(subscriptions=1, items=2)
    peer.set("Level", 95.0)
    [alarm] = await plant.shows("unacknowledged")
    assert (alarm["alarm"], alarm["priority"]) == (LEVEL, "low")
    assert alarm["message"] == "Condition is 95.000 and state is HighHigh"
    peer.control("acknowledge", comment="seen")
    [alarm] = await plant.shows("unacknowledged", "acknowledged")
    gateway.kill()
    gateway = await Lineside.start("run", plant.config)
    await gateway.logged("machine.online")
    gateway.kill()
    peer.set("Level", 50.0)  # without a subscription
    gateway = await Lineside.start("run", plant.config)
    await plant.shows("unacknowledged", "acknowledged", "normal", standing=0)
    await peer.has(60, subscriptions=1)  # those of the gateways that were killed have ended
    peer.set("Level", 5.0)
    await plant.shows("normal", "unacknowledged")
    peer.set("Level", 50.0)  # nobody has acknowledged it: the server keeps a branch for that
    await until(lambda: ("branch", "unacknowledged") in plant.transitions(), "the branch", SECONDS)
    [branch] = await plant.shows("normal", "unacknowledged", "returned_unacknowledged", "normal")
    assert branch["alarm"].startswith(f"{LEVEL} ns=1;g=")
    peer.control("acknowledge", branches=True)
    # an event of a branch has the time of the earlier state
    await until(lambda: ("branch", "normal") in plant.transitions(), "the branch is over", SECONDS)
    peer.set("Level", 85.0)
    await plant.shows("normal", "unacknowledged")
    peer.kill()
    await gateway.logged("machine.offline")
    peer.launch()  # with a level of 50, and no memory of the alarm
    [alarm] = await plant.shows("normal", "unacknowledged", "returned_unacknowledged")
    done = await lineside("alarms", "acknowledge", str(plant.config), "m-01", LEVEL, "--user", "anna")
    assert done.text == "done\n"
    await plant.shows("returned_unacknowledged", "normal", standing=0)
    assert await gateway.stop() == 0
    assert await ingest.stop() == 0
    assert plant.level() == [
        "unacknowledged", "acknowledged", "normal",
        "unacknowledged", "returned_unacknowledged", "normal",
        "unacknowledged", "returned_unacknowledged", "normal",
    ]  # fmt: skip
