"""Stores over https: InfluxDB and VictoriaMetrics behind a server with certificates of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakes.authority import Authority, Pair
from processes import LOOPBACK
from tls_proxy import TlsProxy

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan, Unavailable
from gateway.stores.influxdb import InfluxSettings, InfluxStore

if TYPE_CHECKING:
    from pathlib import Path

    from servers import HttpServer

TIME = 1_764_000_000_123_456
META = MachineMeta("press", {"a": "int"}, {})
PASSWORD = "hunter2-of-the-store"


@pytest.fixture(params=["influxdb", "victoria_metrics"])
def behind(request: pytest.FixtureRequest, enterprise: str) -> tuple[HttpServer, dict[str, Any]]:
    """A server without TLS, and the settings of its store but for the address."""
    if request.param == "victoria_metrics":
        return request.getfixturevalue("victoria_metrics"), {"bucket": enterprise}
    settings = {"api": "v1", "database": request.getfixturevalue("influx_database")}
    return request.getfixturevalue("influxd"), settings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "plant")


def store_at(url: str, /, **settings: Any) -> InfluxStore:
    return InfluxStore(InfluxSettings.model_validate({"url": url} | settings))


def as_files(pair: Pair) -> dict[str, Path]:
    return {"certificate": pair.certificate, "key": pair.key}


def test_rows_are_written_with_our_certificate_to_a_server_that_demands_it(
    behind: tuple[HttpServer, dict[str, Any]], authority: Authority, enterprise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key that is locked, as on a box that people can carry away."""
    server, settings = behind
    monkeypatch.setenv("LINESIDE_SECRET_STORE_KEY", PASSWORD)
    ours = authority.pair("ingest", password=PASSWORD.encode())
    options = as_files(ours) | {"ca": authority.file, "key_password": {"secret": "store_key"}}
    with TlsProxy(server.port, authority.pair("tsdb", LOOPBACK), demands=authority) as proxy:
        path = MachinePath(enterprise, "site", "area", "line", "m-1")
        with store_at(proxy.url, **settings, **options) as store:
            store.write([MachineScan(path, META, NamedScan(TIME, {"a": 7}), 0)])
        assert set(proxy.names) == {"ingest"}


def test_a_server_that_is_not_trusted_gets_no_row(authority: Authority, tmp_path: Path, influxd: HttpServer) -> None:
    """An unknown authority, the certificate of another host, and a revoked certificate."""
    tsdb = authority.pair("tsdb", LOOPBACK)
    ca, crl = authority.file, tmp_path / "plant.crl.pem"
    with TlsProxy(influxd.port, tsdb) as proxy:
        for options in ({}, {"ca": Authority(tmp_path, "other").file}):
            with pytest.raises(Unavailable, match="certificate verify failed"):
                store_at(proxy.url, bucket="b", **options).open()
        crl.write_bytes(authority.revocations(tsdb))
        with pytest.raises(Unavailable, match="certificate revoked"):
            store_at(proxy.url, bucket="b", ca=ca, crl=crl).open()
    with (
        TlsProxy(influxd.port, authority.pair("another", "10.1.2.3")) as proxy,
        pytest.raises(Unavailable, match="IP address mismatch"),
    ):
        store_at(proxy.url, bucket="b", ca=ca).open()


def test_a_client_without_a_certificate_is_not_let_in(
    authority: Authority, tmp_path: Path, influxd: HttpServer
) -> None:
    """Nor one with that of another authority."""
    stranger = as_files(Authority(tmp_path, "other").pair("stranger"))
    with TlsProxy(influxd.port, authority.pair("tsdb", LOOPBACK), demands=authority) as proxy:
        for options in ({}, stranger):
            with pytest.raises(Unavailable):
                store_at(proxy.url, bucket="b", ca=authority.file, **options).open()
        assert proxy.names == []


def test_a_key_that_can_not_be_used_is_named_without_its_password(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = authority.pair("ingest", password=PASSWORD.encode())
    url = f"https://{LOOPBACK}:1"
    with pytest.raises(Unavailable, match=r"influxdb\.key \(.*\): it is locked .* influxdb\.key_password: \{secret"):
        store_at(url, bucket="b", **as_files(locked)).open()
    monkeypatch.setenv("LINESIDE_SECRET_STORE_KEY", "a-wrong-password")
    with pytest.raises(Unavailable, match=r"the secret of influxdb\.key_password is not its password") as wrong:
        store_at(url, bucket="b", key_password={"secret": "store_key"}, **as_files(locked)).open()
    assert "a-wrong-password" not in str(wrong.value)


def test_a_renewed_certificate_is_used_after_a_failure(
    authority: Authority, tmp_path: Path, influxd: HttpServer, influx_database: str, enterprise: str
) -> None:
    """Ingest runs for years, and certificates last for weeks."""
    ours = authority.pair("ingest")
    path = MachinePath(enterprise, "site", "area", "line", "m-1")
    scans = [MachineScan(path, META, NamedScan(TIME, {"a": 7}), 0)]
    renewed = Authority(tmp_path, "next")
    with TlsProxy(influxd.port, authority.pair("tsdb", LOOPBACK), demands=authority) as proxy:
        store = store_at(proxy.url, api="v1", database=influx_database, ca=authority.file, **as_files(ours))
        store.open()
        store.write(scans)
    with TlsProxy(influxd.port, renewed.pair("tsdb", LOOPBACK), demands=renewed, port=proxy.port) as proxy:
        with pytest.raises(Unavailable):
            store.write(scans)
        authority.file.write_bytes(renewed.file.read_bytes())
        pair = renewed.pair("renewed")
        ours.certificate.write_bytes(pair.certificate.read_bytes())
        ours.key.write_bytes(pair.key.read_bytes())
        store.write(scans)
        assert set(proxy.names) == {"renewed"}
    store.close()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"url": "http://tsdb:8086", "ca": "/ca.pem"}, "ca, crl, certificate and key are for https://"),
        ({"url": "https://tsdb:8086", "certificate": "/a.pem"}, "a certificate needs its key"),
        ({"url": "https://tsdb:8086", "key_password": {"secret": "a"}}, "key_password is for a key"),
        ({"url": "https://tsdb:8086", "insecure": True}, "insecure is for http://"),
    ],
)
def test_settings_of_tls_that_make_no_sense_are_refused(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InfluxSettings.model_validate({"bucket": "b"} | written)
