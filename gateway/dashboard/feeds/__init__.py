"""The feeds of the page, by name: a new feed is one file and one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.dashboard.feeds.alarms import AlarmsFeed
from gateway.dashboard.feeds.delivery import DeliveryFeed
from gateway.dashboard.feeds.events import EventsFeed
from gateway.dashboard.feeds.line import LineFeed
from gateway.dashboard.feeds.machine import MachineFeed
from gateway.dashboard.feeds.overview import OverviewFeed
from gateway.dashboard.feeds.parts import PartsFeed
from gateway.dashboard.feeds.production import ProductionFeed

if TYPE_CHECKING:
    from gateway.dashboard.feeds.base import Feed

FEEDS: dict[str, type[Feed]] = {
    "overview": OverviewFeed,
    "line": LineFeed,
    "machine": MachineFeed,
    "delivery": DeliveryFeed,
    "events": EventsFeed,
    "alarms": AlarmsFeed,
    "production": ProductionFeed,
    "parts": PartsFeed,
}
