"""Settings of a Modbus connection that a test changes while the connection is open."""

from __future__ import annotations

from pydantic import ConfigDict

from drivers.modbus.connection import ModbusConnection


class AdjustableConnection(ModbusConnection):
    """A connection whose time-out may be set at any time: long where nothing is late, short where nothing comes."""

    model_config = ConfigDict(frozen=False)
