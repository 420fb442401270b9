"""The links of pages without users that tests have started, and the session that such a link begins."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from processes import Lineside

from gateway.dashboard.security.link import links_in
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import BrowserContext

FOLDERS: dict[str, Path] = {}
"""The folders of the links by the host and port of their pages."""

_COOKIES: dict[str, str] = {}
"""The cookies of sessions by the links that began them."""


async def start_page(config: Path, listen: str, *options: str) -> Lineside:
    """Start a page at an address, HOST:PORT, wait until it is served, and note where its link is."""
    page = await Lineside.start("dashboard", config, "--listen", listen, *options)
    await page.logged("dashboard.listening")
    FOLDERS[listen] = config.parent / load_factory(config).gateway.spool.folder
    return page


def link_of(url: str) -> str:
    """Return the link of the page of a URL as it is now; empty for a page without a link."""
    place = urlsplit(url).netloc
    links = links_in(FOLDERS[place]) if place in FOLDERS else []
    return next((link for link in links if urlsplit(link).netloc == place), "")


def cookie_of(url: str) -> str:
    """Return the cookie of a session at the page of a URL, as a header has it; empty for a page without a link.

    Tests share it: a user has ten sessions at most.
    """
    link = link_of(url)
    if not link:
        return ""
    cookie = _COOKIES.get(link, "")
    if not cookie or _answer(link, "/api/session", cookie)[0] != 200:
        status, headers = _answer(link, link.partition(urlsplit(link).netloc)[2])
        assert status == 303
        cookie = _COOKIES[link] = headers["set-cookie"].partition(";")[0]
    return cookie


def sign_in(context: BrowserContext, url: str) -> None:
    """Give a browser the session of a page, if the page has a link."""
    if cookie := cookie_of(url):
        name, _, value = cookie.partition("=")
        # by its host: Playwright would bind it to the path of the URL
        host = urlsplit(url).hostname or ""
        context.add_cookies([{"name": name, "value": value, "domain": host, "path": "/"}])


def _answer(link: str, path: str, cookie: str = "") -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(urlsplit(link).netloc, timeout=30)
    try:
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}
    finally:
        connection.close()
