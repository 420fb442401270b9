"""Time-series stores: a file for each, and a line in `STORES`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.stores.base import StoreKind

STORES: dict[str, str] = {
    "sqlite": "gateway.stores.sqlite:KIND",
    "influxdb": "gateway.stores.influxdb:KIND",
}
"""Store name -> module and attribute of its `StoreKind`; text, so that only configured stores are imported."""


@cache
def store_kind(name: str) -> StoreKind:
    """Load a kind of store by its name. Raises `KeyError` for an unknown name."""
    module, _, attribute = STORES[name].partition(":")
    kind: StoreKind = getattr(import_module(module), attribute)
    return kind
