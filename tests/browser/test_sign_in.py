"""Sign-in and sign-out in a browser, with its rules for cookies, origins and the content security policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from accessibility import severe_findings
from dashboards import factory
from page_link import link_of
from page_plant import wait_for
from processes import LOOPBACK, Lineside, free_port
from secured_page import HASH, PASSWORD, QUICK

from gateway.users.roles import Role
from gateway.users.users_file import changing, new_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from page_plant import PlantWithPage
    from playwright.sync_api import Browser, Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

NOTICE = "Authorized persons only.\n\nWhat you do here is recorded. <b>No</b> " + "long words: " + "x" * 300
"""Conditions of use in lines, with a word that is wider than a small screen."""

PATIENCE = 60_000
"""Milliseconds."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address of a page with the user anna."""
    yield from _serve(tmp_path)


@pytest.fixture
def url_with_notice(tmp_path: Path) -> Iterator[str]:
    """The address of a page with the user anna, and a notice of use."""
    yield from _serve(tmp_path, notice=NOTICE)


def _serve(tmp_path: Path, **section: Any) -> Iterator[str]:
    port = free_port()
    config = factory(tmp_path, listen=f"{LOOPBACK}:{port}", **section)
    with changing(tmp_path / "lineside-data" / "users.yaml") as users:
        users["anna"] = new_user(Role.OPERATOR, HASH)

    async def start() -> Lineside:
        started = await Lineside.start("dashboard", config)
        await started.logged("dashboard.listening")
        return started

    started = wait_for(start())
    yield f"http://{LOOPBACK}:{port}"
    started.kill()


def test_a_person_signs_in_works_and_signs_out(url: str, open_page: Open) -> None:
    """The way leads back to the view that was asked for, and nothing of the page breaks the policy."""
    page = open_page(f"{url}/events")
    assert page.url == f"{url}/login?next=%2Fevents"
    page.wait_for_function("document.activeElement.id === 'name'")  # a browser gives it the focus with a frame
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
    assert page.url.startswith(f"{url}/events")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_selector("input[name=password]", timeout=PATIENCE)
    page.goto(f"{url}/events")
    assert page.url == f"{url}/login?next=%2Fevents"


def test_a_session_that_ends_leads_to_the_sign_in_and_back(url: str, tmp_path: Path, open_page: Open) -> None:
    """A page that stays open over the night must not show old values in the morning as if they were new."""
    page = open_page(f"{url}/login?next=%2Fevents%3Fkind%3Dmachine")
    for _ in range(2):
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
        assert page.url == f"{url}/events?kind=machine"
        with changing(tmp_path / "lineside-data" / "users.yaml") as users:
            users["anna"] = new_user(Role.OPERATOR, QUICK.hash(PASSWORD))  # another hash ends the session
        page.wait_for_url(f"{url}/login?next=%2Fevents%3Fkind%3Dmachine", timeout=PATIENCE)


def test_the_sign_in_needs_no_javascript(url: str, open_page: Open) -> None:
    page = open_page(f"{url}/login", java_script_enabled=False, locale="de-DE")
    page.get_by_label("Benutzername").fill("anna")
    page.get_by_label("Passwort").fill(PASSWORD)
    page.get_by_role("button", name="Anmelden").click()
    page.wait_for_url(f"{url}/", timeout=PATIENCE)
    assert page.locator("noscript").count() == 1


def test_a_person_accepts_the_notice_of_use_by_signing_in(url_with_notice: str, open_page: Open) -> None:
    """It is whole and readable on a small screen, with its lines; the button says what it does."""
    page = open_page(f"{url_with_notice}/login", locale="zh-CN", viewport={"width": 320, "height": 480})
    notice = page.get_by_role("region", name="使用须知").locator("p")
    assert notice.inner_text() == NOTICE
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("scrollY") == 0
    page.get_by_label("用户名").fill("anna")
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="接受并登录").click()
    page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)


def test_the_fields_stay_visible_in_the_dark_and_on_a_small_screen(url: str, open_page: Open) -> None:
    page = open_page(f"{url}/login", color_scheme="dark", viewport={"width": 320, "height": 480})
    colour, ground = page.eval_on_selector(
        "#name", "field => [getComputedStyle(field).color, getComputedStyle(field).backgroundColor]"
    )
    assert (colour, ground) == ("rgb(227, 232, 236)", "rgb(23, 28, 33)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("button[type=submit]").bounding_box()["height"] >= 44  # type: ignore[index]


def test_the_link_of_a_page_without_users_is_one_click(browser: Browser, plant: PlantWithPage):
    """The address of the terminal opens the page, and the token is in no address, history or script of it."""
    link = link_of(plant.url)
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(plant.url + "/alarms")
    assert page.url == f"{plant.url}/login?next=%2Falarms"
    page.get_by_text("lineside dashboard CONFIG --link").wait_for(timeout=PATIENCE)
    assert severe_findings(page) == []
    page.goto(link)
    page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
    assert page.url == f"{plant.url}/"
    page.go_back()
    assert page.url == f"{plant.url}/login?next=%2Falarms"
    page.go_forward()
    page.wait_for_selector("html[data-server=there] h1", timeout=PATIENCE)
    token = link.rpartition("=")[2]
    assert token not in page.evaluate("() => document.documentElement.outerHTML + document.referrer + location.href")
    page.get_by_role("button", name="Sign out").click()
    # the WebSocket that has ended leads there, too: the address changes twice
    page.get_by_text("lineside dashboard CONFIG --link").wait_for(timeout=PATIENCE)
    context.close()
