"""Settings of the broker and of publishing: valid as written, or refused with a correction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError
from gateway.settings.sections import BrokerSection, GatewaySection, Order

TLS = "mqtts://b1.example"


def broker(**written: Any) -> BrokerSection:
    return BrokerSection.model_validate({"url": TLS} | written)


def test_addresses_are_tried_in_the_order_of_the_file():
    """The usual ports are those of MQTT: 1883, and 8883 with TLS."""
    section = broker(backup=["mqtts://b2.example:9999", "mqtts://[::1]"])
    assert [address[1:] for address in section.addresses] == [
        ("b1.example", 8883),
        ("b2.example", 9999),
        ("::1", 8883),
    ]
    assert [address.url for address in section.addresses][1] == "mqtts://b2.example:9999"
    assert broker(url="mqtt://b1.example", backup="mqtt://b2.example").addresses[1].port == 1883


def test_files_of_tls_are_paths():
    """They are read when the gateway connects, not when the file is checked: CI has none of them."""
    section = broker(ca="~/ca.pem", certificate="edge.pem", key="edge.key")
    assert section.ca == Path("~/ca.pem").expanduser()
    assert (section.certificate, section.key) == (Path("edge.pem"), Path("edge.key"))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"backup": "http://b2.example"},
            "http:// is not a scheme of brokers; write mqtt://b2.example",
        ),
        (
            {"backup": ["mqtts://b2.example", "mqtts://b3.example:x"]},
            "the URL's port is not a number from 1 to 65535",
        ),
        (
            {"backup": "mqtts://edge:hunter2@b2.example"},
            "write username, and password: {secret: NAME}, beside the url",
        ),
        ({"backup": "mqtt://b2.example"}, "url and backup are all mqtts, or all mqtt"),
        ({"backup": {"url": TLS}}, "Input should be a valid tuple"),
        ({"certificate": "edge.pem"}, "a certificate needs its key, and a key its certificate"),
        ({"key": "edge.key"}, "a certificate needs its key, and a key its certificate"),
        ({"url": "mqtt://b1.example", "ca": "ca.pem"}, "ca, crl, certificate and key are for mqtts://"),
        ({"password": {"secret": "x"}}, "a password without a username"),
        ({"keep_alive": "500ms"}, "greater than or equal to 1"),
        ({"keep_alive": "1d"}, "less than or equal to 65535"),
    ],
)
def test_an_invalid_broker_section_is_explained(written: dict[str, Any], message: str):
    """Most mistakes would otherwise appear only when the first broker fails at night."""
    with pytest.raises(ValidationError) as caught:
        broker(**written)
    assert message in str(caught.value)
    assert "hunter2" not in "".join(error["msg"] for error in caught.value.errors())


def test_order_and_size_of_records_have_sane_defaults():
    """64 KiB is half of the lowest limit among the large brokers."""
    section = GatewaySection.model_validate({"id": "edge"})
    assert (section.order, section.max_record) == (Order.FRESH, 65536)
    section = GatewaySection.model_validate({"id": "edge", "order": "strict", "max_record": "128KiB"})
    assert (section.order, section.max_record) == (Order.STRICT, 131072)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"order": "random"}, ("gateway.order: ", "'strict'", "random")),
        ({"max_record": "100B"}, ("gateway.max_record: ", "1024", "100")),
        ({"max_record": 70000.5}, ("gateway.max_record: ", "70000.5")),
    ],
)
def test_an_invalid_publish_setting_is_reported_at_its_line(
    tmp_path: Path, written: dict[str, Any], expected: tuple[str, ...]
):
    """The same is true of every other setting of the file."""
    file = tmp_path / "factory.yaml"
    machine = {"template": "curing-press", "connection": "modbus+tcp://localhost"}
    file.write_text(
        yaml.safe_dump(
            {
                "format": 1,
                "factory": {"enterprise": "acme", "site": "north"},
                "gateway": {"id": "edge"} | written,
                "broker": {"url": TLS},
                "lines": {"line": {"area": "area", "machines": {"m": machine}}},
            }
        )
    )
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file)
    [problem] = caught.value.problems
    assert all(part in str(problem) for part in ("factory.yaml:", *expected)), problem
