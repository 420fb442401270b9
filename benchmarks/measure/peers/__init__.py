"""Other products that read the same machines and publish to the same broker, to be measured beside Lineside."""

from __future__ import annotations

from measure.peers.telegraf import Telegraf
from measure.peers.thingsboard import ThingsBoard

PEERS = {"telegraf": Telegraf, "thingsboard": ThingsBoard}
"""By the name of the option that selects them."""
