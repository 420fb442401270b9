"""The section `dashboard`: its defaults, its messages, and what exposure demands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dashboards import factory

from gateway.cli import main
from gateway.settings.dashboard_section import DashboardSection, check_exposure
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = {"issuer": "https://id.example", "client_id": "lineside", "roles": {"viewer": "staff"}}


def test_the_files_of_the_dashboard_are_beside_the_spool(tmp_path: Path) -> None:
    """All state of a box is in one folder, which a backup knows."""
    file = factory(tmp_path, listen=9000)
    section = load_factory(file).dashboard
    assert str(section.endpoint) == "127.0.0.1:9000"
    assert section.users == tmp_path / "lineside-data" / "users.yaml"
    assert section.audit.folder == tmp_path / "lineside-data" / "audit"


def test_the_files_of_the_dashboard_follow_a_spool_elsewhere(tmp_path: Path) -> None:
    """A spool on a disk of its own takes them along."""
    file = factory(tmp_path)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("id: edge-01", "id: edge-01\n  spool: {folder: disk/spool}"), encoding="utf-8")
    section = load_factory(file).dashboard
    assert section.users == tmp_path / "disk" / "spool" / "users.yaml"
    assert section.audit.folder == tmp_path / "disk" / "spool" / "audit"


def test_written_paths_follow_the_file(tmp_path: Path) -> None:
    """A relative path follows the file that it is written in, as everywhere."""
    section = load_factory(factory(tmp_path, users="who.yaml", audit={"folder": "log"})).dashboard
    assert section.users == tmp_path / "who.yaml"
    assert section.audit.folder == tmp_path / "log"


def test_a_notice_of_use_has_lines_and_quotes(tmp_path: Path) -> None:
    """It is a text of a lawyer, in the languages of the plant."""
    text = 'Nur für "Befugte".\nC:\\ bleibt.\n\n仅限授权人员。'
    assert load_factory(factory(tmp_path, notice=f"\n{text}\n")).dashboard.notice == text


@pytest.mark.parametrize(
    ("dashboard", "message"),
    [
        ({"time_zone": "Europe/Berln"}, "did you mean 'Europe/Berlin'?"),
        ({"time_zone": "../etc/passwd"}, "is not a time zone"),
        ({"language": "fr"}, "'fr' is not a valid value"),
        ({"session": "8"}, "session"),
        ({"hosts": ["https://a.example"]}, "write its name alone"),
        ({"oidc": ISSUER | {"issuer": "http://id.example"}}, "http:// is for the loopback interface"),
        ({"oidc": ISSUER | {"issuer": "https://user:pw@id.example"}}, "write a URL without user"),
        ({"oidc": ISSUER | {"roles": {}}}, "gives nobody a role"),
        ({"oidc": ISSUER | {"client_secret": "hunter2-secret"}}, "a secret is named, never written"),
        ({"audit": {"syslog": "udp://siem.example:514"}}, "write tls://siem.example:6514"),
        ({"audit": {"syslog": "siem.example"}}, "is not a syslog server"),
        ({"audit": {"max_size": "10kB"}}, "holds next to nothing"),
        ({"audit": {"syslog_ca": "ca.pem"}}, "syslog_ca and syslog_crl are for syslog: tls://"),
        ({"audit": {"syslog_crl": "ca.crl.pem", "syslog": "udp://127.0.0.1"}}, "syslog_crl are for syslog: tls://"),
        ({"tls": {"certificate": "a.pem"}}, "dashboard.tls.key: is missing"),
        ({"notice": " \n "}, "dashboard.notice: the notice is empty; write the conditions of use, or remove notice"),
        ({"notice": "x" * 4_001}, "dashboard.notice: is 4,001 characters long; the limit is 4,000"),
        ({"notice": "ab\u202ecd"}, "contains right-to-left override (U+202E) at character 3; remove it"),
        ({"notice": "ab\x1b[2Jcd"}, "at character 3; remove it"),
        ({"notice": ["a", "b"]}, "dashboard.notice"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(tmp_path: Path, dashboard: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_factory(factory(tmp_path, **dashboard))
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_nothing_is_demanded_on_the_loopback(tmp_path: Path) -> None:
    assert check_exposure(load_factory(factory(tmp_path)).dashboard) == []


def test_beyond_the_loopback_tls_and_users_are_demanded(tmp_path: Path) -> None:
    """Each message says what to write."""
    section = load_factory(factory(tmp_path, listen="0.0.0.0:8443")).dashboard
    tls, users = check_exposure(section)
    assert "write tls: {certificate: FILE, key: FILE}" in tls
    assert "lineside users add CONFIG" in users
    assert "\n" not in tls + users
    section.users.parent.mkdir()
    section.users.touch()
    assert len(check_exposure(section)) == 1


def test_a_provider_takes_the_place_of_users() -> None:
    tls = {"certificate": "a.pem", "key": "a.key"}
    section = DashboardSection.model_validate({"listen": "0.0.0.0:8443", "tls": tls, "oidc": ISSUER})
    assert check_exposure(section) == []


def test_validate_warns_of_an_exposed_dashboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["validate", str(factory(tmp_path, listen="0.0.0.0:8443"))])
    assert ended.value.code == 0
    assert "warning: dashboard.listen: other machines reach 0.0.0.0:8443" in capsys.readouterr().err
