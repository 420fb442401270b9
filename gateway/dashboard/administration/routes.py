"""The routes for administrators: users, roles, and the audit log.

GET  /api/users
GET  /api/roles
POST /api/roles          {"name": "operator", "permissions": ["trends", "acknowledge"]}
POST /api/roles/remove   {"name": "night-shift"}
POST /api/users/unlock   {"name": "anna"}
GET  /api/audit?search=login+anna&outcome=not-done&before=4711&limit=100
"""

from __future__ import annotations

import asyncio
from collections import Counter
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
from gateway.users.role_changes import BadRole, LastManager, permissions_of, remove_role, set_role
from gateway.users.roles import DEFAULTS, Permission, listed
from gateway.users.users_file import LONGEST_NAME, UnusableUsers, changing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from starlette.requests import Request

    from gateway.audit.log import AuditLog
    from gateway.dashboard.texts.text import Text
    from gateway.users.authenticator import Authenticator
    from gateway.users.role_changes import RoleChange
    from gateway.users.users_file import UserTable

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


class RoleRequest(Section):
    """The body of a request to change the permissions of a role."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    """The name of the role, as in `operator`."""
    permissions: Annotated[list[str], Field(max_length=100)]
    """All that it permits, as in `[trends, acknowledge]`."""


class RemoveRoleRequest(Section):
    """The body of a request to remove a role, or to give it back its default."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    """The name of the role, as in `night-shift`."""


class Administration:
    """The routes for those who may manage users, and read the audit log."""

    def __init__(
        self, authenticator: Authenticator, audit: AuditLog, folder: Path, provider: Collection[str] = ()
    ) -> None:
        """Prepare for the audit log, which is in a folder; no I/O before a request.

        `provider` are the roles that the identity provider gives.
        """
        self._provider = provider
        self._authenticator = authenticator
        self._audit = audit
        self._folder = folder
        self._sign_ins = SignIns(folder)
        self._reading = asyncio.Semaphore(1)  # a long log takes a second of a processor
        self._changing = asyncio.Semaphore(1)

    def routes(self) -> list[Route]:
        """Return the routes, for `Page.app`."""
        guard = require(Permission.USERS)
        return [
            Route("/api/users", guard(answered(self._users))),
            Route("/api/users/unlock", guard(posted(UnlockRequest, self._unlock)), methods=["POST"]),
            Route("/api/roles", guard(posted(RoleRequest, self._set_role)), methods=["POST"]),
            Route("/api/roles", guard(answered(self._roles))),
            Route("/api/roles/remove", guard(posted(RemoveRoleRequest, self._remove_role)), methods=["POST"]),
            Route("/api/audit", require(Permission.AUDIT)(answered(self._entries))),
        ]

    async def _roles(self, request: Request) -> dict[str, Any]:
        del request
        users = self._authenticator.users
        await users.refresh()
        counts = Counter(user.role for user in users.all().values())
        return {
            "permissions": [str(one) for one in Permission],
            "roles": [
                {
                    "name": name, "permissions": listed(permissions), "users": counts[name],
                    "default": listed(DEFAULTS[name]) if name in DEFAULTS else None,
                }
                for name, permissions in users.roles().items()
            ],
        }  # fmt: skip

    async def _set_role(self, request: Request, wanted: RoleRequest) -> dict[str, Any]:
        def change(table: UserTable) -> RoleChange:
            return set_role(table, wanted.name, permissions_of(wanted.permissions), self._provider)

        return await self._changed(request, change)

    async def _remove_role(self, request: Request, wanted: RemoveRoleRequest) -> dict[str, Any]:
        return await self._changed(request, lambda table: remove_role(table, wanted.name, self._provider))

    async def _changed(self, request: Request, change: Callable[[UserTable], RoleChange]) -> dict[str, Any]:
        """Change roles in the file of users, and record it."""
        file = self._authenticator.users.file

        def changed() -> RoleChange:
            with changing(file) as table:
                return change(table)

        try:
            async with self._changing:  # or requests would wait for the lock of the file in all threads
                done = await asyncio.to_thread(changed)
        except LastManager:
            raise RequestRefused(409, _("nobody would be left who may manage users")) from None
        except BadRole as error:
            raise RequestRefused(400, _("the role can't be changed: {reason}", reason=str(error))) from None
        except (UnusableUsers, OSError) as error:
            raise RequestRefused(503, _("the role can't be changed: {reason}", reason=str(error))) from None
        records_itself(request)
        recorded = self._audit.record(
            "role-changed" if done.after is not None else "role-removed", who=identity_of(request).name,
            address=CLIENT.get(), object=done.role, before=done.before, after=done.after,
        )  # fmt: skip
        with suppress(NotRecorded, TimeoutError):  # as in `_unlock`
            await asyncio.to_thread(recorded.result, RECORD_SECONDS)
        return {"name": done.role, "permissions": done.after}

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
