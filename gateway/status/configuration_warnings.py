"""All warnings of a valid configuration: values that are allowed and rarely intended."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from gateway.acquisition.link_load import load_warnings
from gateway.metrics.endpoint_warnings import metrics_warnings
from gateway.mqtt.topics import topic_warnings
from gateway.settings.commands_section import command_warnings
from gateway.settings.dashboard_section import dashboard_warnings
from gateway.settings.encrypted_storage import storage_warnings
from gateway.settings.exposure import exposure_warnings
from gateway.settings.notify_section import notify_warnings
from gateway.settings.problems import in_order

if TYPE_CHECKING:
    from gateway.settings.factory import Factory
    from gateway.settings.problems import Problem


def configuration_warnings(factory: Factory) -> list[Problem]:
    """Return the warnings of a configuration, in the order of its files."""
    found = (
        load_warnings(factory), topic_warnings(factory), metrics_warnings(factory), dashboard_warnings(factory),
        exposure_warnings(factory), notify_warnings(factory), storage_warnings(factory),
        command_warnings(factory),
    )  # fmt: skip
    return in_order([*factory.warnings, *chain.from_iterable(found)])
