"""The view for administrators in a browser: users, locks, and the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from accessibility import severe_findings
from dashboards import factory
from page_plant import wait_for
from processes import LOOPBACK, Lineside, free_port
from secured_page import HASH, PASSWORD

from gateway.audit.log import AuditLog
from gateway.settings.audit_section import AuditSection
from gateway.users.roles import Role
from gateway.users.users_file import changing, new_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
"""Milliseconds."""

HOSTILE = "<img src=x onerror=alert(1)> " + "long" * 80


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with users, and with an audit log of more than a page."""
    folder, port = tmp_path_factory.mktemp("users"), free_port()
    config = factory(folder, listen=f"{LOOPBACK}:{port}")
    _fill(folder / "lineside-data")

    async def start() -> Lineside:
        started = await Lineside.start("dashboard", config)
        started.scope = "module"
        await started.logged("dashboard.listening")
        return started

    wait_for(start())
    return f"http://{LOOPBACK}:{port}"


def _fill(folder: Path) -> None:
    with changing(folder / "users.yaml") as users:
        for name, role in (("anna", Role.OPERATOR), ("ada", Role.ADMIN), ("eve", Role.ENGINEER)):
            users[name] = new_user(role, HASH)
    with AuditLog(AuditSection.model_validate({"folder": str(folder / "audit")})) as audit:
        for at in range(150):
            audit.record("noted", who="anna", address="10.0.0.1", object=f"no-{at}")
        audit.record("noted", who="anna", object=HOSTILE, before=[HOSTILE], after=[HOSTILE]).result(10)


def sign_in(url: str, open_page: Open, name: str, path: str = "/users", **options: object) -> Page:
    page = open_page(f"{url}/login?next={path}", **options)
    page.locator("#name").fill(name)
    page.locator("#password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
    return page


def test_an_administrator_sees_a_locked_user_and_unlocks_it(url: str, open_page: Open) -> None:
    """The state and the entry are there at once, also for a screen reader."""
    page = sign_in(url, open_page, "ada")
    page.locator(".user-table tbody tr").nth(2).wait_for(timeout=PATIENCE)
    for _ in range(5):  # from another address than that of the browser
        answer = httpx2.post(
            f"{url.replace('127.0.0.1', 'localhost')}/login", json={"name": "anna", "password": "wrong"}
        )
        assert answer.status_code in {401, 429}
    page.get_by_role("button", name="Look again").click()
    row = page.locator(".user-table tbody tr", has=page.get_by_role("rowheader", name="anna"))
    row.get_by_text("5 failures").wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []
    row.get_by_role("button", name="Unlock anna").click()
    page.get_by_text("anna can sign in again.").wait_for(timeout=PATIENCE)
    assert row.locator(".user-state").inner_text() == "may sign in"
    # the entry of the start of the service may be newer
    entry = page.locator(".audit-table tbody tr", has_text="user-unlocked")
    entry.wait_for(timeout=PATIENCE)
    assert "ada" in entry.inner_text()


def test_the_log_is_searched_and_paged_and_its_texts_are_harmless(url: str, open_page: Open) -> None:
    """On a small screen the table scrolls, and not the page."""
    page = sign_in(url, open_page, "ada", "/users?search=noted", viewport={"width": 600, "height": 900})
    rows = page.locator(".audit-table tbody tr")
    page.locator(".audit-table td", has_text="no-149").wait_for(timeout=PATIENCE)
    assert (rows.count(), HOSTILE in rows.first.inner_text()) == (100, True)
    assert page.locator(".audit-table img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Older entries").click()
    page.locator(".audit-table td", has_text="no-0").wait_for(timeout=PATIENCE)
    assert rows.count() == 51
    assert page.get_by_role("button", name="Older entries").is_disabled()
    page.get_by_role("button", name="Newer entries").click()
    page.locator(".audit-table td", has_text="no-149").wait_for(timeout=PATIENCE)
    page.get_by_label("Search in the audit log").fill("no-77 anna")
    page.wait_for_url(f"{url}/users?search=no-77+anna", timeout=PATIENCE)
    page.locator(".audit-table tbody:not(:has(tr + tr)) td", has_text="no-77").wait_for(timeout=PATIENCE)
    page.get_by_label("Outcome").select_option("not done")
    page.get_by_text("No entries match.").wait_for(timeout=PATIENCE)


@pytest.mark.parametrize("name", ["anna", "eve"])
def test_others_have_no_such_view(url: str, open_page: Open, name: str) -> None:
    """Neither in the navigation nor by its address."""
    page = sign_in(url, open_page, name)
    assert page.locator("h1").inner_text() == "Overview"
    assert page.locator(".nav a[data-view=configuration]").count() == (1 if name == "eve" else 0)
    assert page.locator(".nav a[data-view=users]").count() == 0


@pytest.mark.parametrize(("locale", "title"), [("de-DE", "Auditprotokoll"), ("zh-CN", "审计日志")])
def test_the_view_speaks_german_and_chinese_in_the_dark(url: str, open_page: Open, locale: str, title: str) -> None:
    page = sign_in(url, open_page, "ada", locale=locale, color_scheme="dark")
    page.locator("h2", has_text=title).wait_for(timeout=PATIENCE)
    page.locator(".audit-table tbody tr").first.wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []


def test_an_administrator_changes_roles_and_the_page_of_others_follows(url: str, open_page: Open) -> None:
    """An action that a role does not permit is not shown; the last administrator keeps the right to manage users."""
    page, other = sign_in(url, open_page, "ada"), sign_in(url, open_page, "anna", "/alarms")
    other.get_by_role("button", name="Shelve…").wait_for(timeout=PATIENCE)
    box = page.get_by_role("checkbox", name="operator: shelve")
    box.uncheck()
    page.locator(".audit-table td", has_text="role-changed").first.wait_for(timeout=PATIENCE)
    page.get_by_role("checkbox", name="operator: trends").uncheck()
    page.get_by_role("button", name="Give operator its default").wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []
    other.goto(f"{url}/alarms")
    other.get_by_role("button", name="Acknowledge on this page…").wait_for(timeout=PATIENCE)
    assert other.get_by_role("button", name="Shelve…").count() == 0
    assert other.locator(".nav a[data-view=trends]").count() == 0
    page.get_by_role("checkbox", name="admin: users").click()
    page.get_by_text("nobody would be left who may manage users").wait_for(timeout=PATIENCE)
    assert page.get_by_role("checkbox", name="admin: users").is_checked()
    page.get_by_label("Name of a new role").fill("night-shift")
    page.get_by_role("button", name="Add the role").click()
    page.get_by_role("button", name="Remove night-shift").click()
    page.get_by_role("button", name="Remove night-shift").wait_for(state="detached", timeout=PATIENCE)
    page.get_by_role("button", name="Give operator its default").click()
    page.get_by_role("button", name="Give operator its default").wait_for(state="hidden", timeout=PATIENCE)
    assert page.get_by_role("checkbox", name="operator: shelve").is_checked()
