"""Sessions that go on when the page is started again, and files that are not of this page."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.common.tasks import cancel_and_wait
from gateway.dashboard.security.oidc import Subject
from gateway.dashboard.security.sessions import Sessions
from gateway.dashboard.security.sessions_file import SessionsFile, sessions_file
from gateway.users.roles import Identity

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = Identity("local", "engineer", "link")


class Page:
    """The sessions of a run of the page, with a clock of their own."""

    def __init__(self, folder: Path, lasts: float = 1000.0, idle: float = 100.0) -> None:
        self.time = 50.0
        self.sessions = Sessions(lasts, idle, lambda: self.time)
        self.file = SessionsFile(sessions_file(folder, 8080), self.sessions, LOCAL)
        self.file.load()


def test_a_session_goes_on_with_its_age(tmp_path: Path) -> None:
    before = Page(tmp_path)
    id_, session = before.sessions.begin(LOCAL)
    before.time += 40
    before.sessions.use(session)
    before.time += 30
    before.file.save()
    found = (after := Page(tmp_path)).sessions.find(id_)
    assert found is not None
    assert found.identity == LOCAL
    assert found.csrf_token != session.csrf_token
    assert after.sessions.remaining(found) == pytest.approx(70, abs=5)


def test_a_session_that_has_ended_or_expired_does_not_come_back(tmp_path: Path) -> None:
    before = Page(tmp_path)
    ended, session = before.sessions.begin(LOCAL)
    expired, _ = before.sessions.begin(LOCAL)
    before.sessions.end(session)
    before.time += 101
    before.file.save()
    after = Page(tmp_path)
    assert (after.sessions.find(ended), after.sessions.find(expired), len(after.sessions)) == (None, None, 0)


def test_the_file_signs_nobody_in_and_is_of_this_user_alone(tmp_path: Path) -> None:
    page = Page(tmp_path)
    id_, _ = page.sessions.begin(LOCAL)
    page.sessions.begin(Identity("ben", "viewer", "oidc"), subject=Subject("ben", "", ""))
    page.sessions.begin(Identity("anna", "operator", "password"), "stamp")
    page.file.save()
    file = sessions_file(tmp_path, 8080)
    assert id_ not in file.read_text()
    assert len(json.loads(file.read_text())["sessions"]) == 1
    assert file.stat().st_mode & 0o077 == 0


async def test_a_new_session_is_saved_at_once(tmp_path: Path) -> None:
    """The page may be killed the next moment."""
    page = Page(tmp_path)
    saving = asyncio.create_task(page.file.run())
    id_, _ = page.sessions.begin(LOCAL)
    async with asyncio.timeout(10):
        while not sessions_file(tmp_path, 8080).exists():  # noqa: ASYNC110 - another thread writes it
            await asyncio.sleep(0.01)
    await cancel_and_wait(saving)
    assert Page(tmp_path).sessions.find(id_) is not None


def test_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    """A page with users, or at rest, wears no flash."""
    page = Page(tmp_path)
    page.file.save()
    assert not sessions_file(tmp_path, 8080).exists()
    page.sessions.begin(LOCAL)
    page.file.save()
    sessions_file(tmp_path, 8080).unlink()
    page.file.save()
    assert not sessions_file(tmp_path, 8080).exists()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"sessions": 1}', b'{"sessions": [{}]}', b"\xff", b"x" * 2_000_000]
)
def test_a_file_that_is_not_one_of_sessions_is_logged_and_ignored(tmp_path: Path, content: bytes) -> None:
    sessions_file(tmp_path, 8080).write_bytes(content)
    with capture_logs() as said:
        assert len(Page(tmp_path).sessions) == 0
    assert [one["event"] for one in said] == ["dashboard.sessions_not_read"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    sessions_file(tmp_path, 8080).symlink_to("/dev/zero")
    with capture_logs() as said:
        Page(tmp_path)
    assert [one["event"] for one in said] == ["dashboard.sessions_not_read"]


def test_sessions_of_the_future_are_left_out(tmp_path: Path) -> None:
    """The clock was set back: nobody knows how old they are."""
    page = Page(tmp_path)
    page.sessions.begin(LOCAL)
    page.file.save()
    file = sessions_file(tmp_path, 8080)
    found = json.loads(file.read_text())
    found["sessions"][0]["used"] += 3600
    file.write_text(json.dumps(found))
    assert len(Page(tmp_path).sessions) == 0
