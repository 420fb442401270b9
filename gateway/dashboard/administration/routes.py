"""The routes for administrators: the users, and the audit log.

GET  /api/users
POST /api/users/unlock   {"name": "anna"}
GET  /api/audit?search=login+anna&outcome=not-done&before=4711&limit=100
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from starlette.routing import Route

from gateway.audit.log import NotRecorded
from gateway.common.setting_types import Section
from gateway.dashboard.administration.audit_entries import Search, found_entries
from gateway.dashboard.administration.sign_ins import SignIn, SignIns, User
from gateway.dashboard.answers import answered, posted
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.security import CLIENT, identity_of, records_itself, require
from gateway.dashboard.security.access import RequestRefused
from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.selection import number_of
from gateway.users.roles import Role
from gateway.users.users_file import LONGEST_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from gateway.audit.log import AuditLog
    from gateway.dashboard.texts.text import Text
    from gateway.users.authenticator import Authenticator

MOST_ENTRIES = 500
"""Entries of the audit log in one answer."""

MOST_SEARCH = 200
"""Characters of a search."""

RECORD_SECONDS = 5.0
"""Seconds that an answer waits for its entry of the audit log."""

MOST_NUMBER = 2**53
"""The greatest number of an entry that a page can name."""


class UnlockRequest(Section):
    """The body of a request to unlock a user."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    """The user's name, as in `anna`."""


class Administration:
    """The routes for the role admin."""

    def __init__(self, authenticator: Authenticator, audit: AuditLog, folder: Path) -> None:
        """Prepare for the audit log, which is in a folder; no I/O before a request."""
        self._authenticator = authenticator
        self._audit = audit
        self._folder = folder
        self._sign_ins = SignIns(folder)
        self._reading = asyncio.Semaphore(1)  # a long log takes a second of a processor

    def routes(self) -> list[Route]:
        """Return the routes, for `Page.app`."""
        guard = require(Role.ADMIN)
        return [
            Route("/api/users", guard(answered(self._users))),
            Route("/api/users/unlock", guard(posted(UnlockRequest, self._unlock)), methods=["POST"]),
            Route("/api/audit", guard(answered(self._entries))),
        ]

    async def _users(self, request: Request) -> dict[str, Any]:
        del request
        users = self._authenticator.users
        await users.refresh()
        problem, last = None, {}
        try:
            async with self._reading:
                last = await asyncio.to_thread(self._sign_ins.read)
        except OSError as error:  # a user can be unlocked without the log
            problem = _unreadable(error)
        rows = [
            {
                "name": name, "method": "password", "role": str(user.role), "disabled": user.disabled,
                "created": user.created, **self._failures(name), "last": _time(last.get(User(name, "password"))),
            }
            for name, user in users.all().items()
        ]  # fmt: skip
        rows += [
            {
                "name": user.name, "method": "oidc", "role": found.role, "disabled": False, "created": "",
                "failures": 0, "seconds": 0.0, "last": found.time,
            }
            for user, found in last.items() if user.method == "oidc"
        ]  # fmt: skip
        rows.sort(key=lambda row: (str(row["name"]).casefold(), str(row["method"])))
        return {"users": rows, "since": self._sign_ins.since or None, "problem": problem}

    def _failures(self, name: str) -> dict[str, Any]:
        found = self._authenticator.failures(name)
        return {"failures": found.number, "seconds": round(found.seconds, 1)}

    async def _unlock(self, request: Request, wanted: UnlockRequest) -> dict[str, Any]:
        await self._authenticator.users.refresh()
        if self._authenticator.users.get(wanted.name) is None:
            raise RequestRefused(404, _("there is no such user"))
        before = self._failures(wanted.name)
        self._authenticator.unlock(wanted.name)
        after = self._failures(wanted.name)
        records_itself(request)
        recorded = self._audit.record(
            "user-unlocked", who=identity_of(request).name, address=CLIENT.get(), object=wanted.name, before=before,
            after=after,
        )  # fmt: skip
        # the page shows the entry next; a log that can't be written says so itself, and the user is unlocked
        with suppress(NotRecorded, TimeoutError):
            await asyncio.to_thread(recorded.result, RECORD_SECONDS)
        return {"name": wanted.name} | after

    async def _entries(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        outcome = query.get("outcome", "")
        if outcome not in {"", "not-done"}:
            raise BadArguments(_("outcome is not-done, or is left out"))
        words = tuple(query.get("search", "")[:MOST_SEARCH].casefold().split())
        before = number_of(query, "before", 1, MOST_NUMBER) if "before" in query else None
        limit = number_of(query, "limit", 100, MOST_ENTRIES)
        search = Search(words, not_done=bool(outcome), before=before, limit=limit)
        try:
            async with self._reading:
                return await asyncio.to_thread(found_entries, self._folder, search)
        except OSError as error:
            raise RequestRefused(503, _unreadable(error)) from None


def _unreadable(error: OSError) -> Text:
    return _("the audit log can't be read: {reason}", reason=error.strerror or str(error))


def _time(found: SignIn | None) -> int | None:
    return None if found is None else found.time
