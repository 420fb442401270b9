"""The role admin on the page: users, their locks and sign-ins, and the audit log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from secured_page import ORIGIN, PASSWORD, Page, serving

from gateway.audit.entry import LONGEST_LINE
from gateway.audit.files import log_files
from gateway.audit.log import AuditLog
from gateway.audit.newest_first import entries_newest_first
from gateway.audit.verify import verify
from gateway.audit.writer import Full
from gateway.dashboard.administration import audit_entries, sign_ins
from gateway.dashboard.administration.sign_ins import SignIn, SignIns, User
from gateway.settings.audit_section import AuditSection
from gateway.users.role_changes import set_role
from gateway.users.roles import Permission
from gateway.users.users_file import changing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.testclient import TestClient

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with serving(tmp_path) as page:
        yield page


def fail(page: Page, name: str, times: int = 5, address: str = "10.0.0.9") -> None:
    client = page.client(address=address)
    for _ in range(times):
        client.post("/login", data={"name": name, "password": "wrong"}, headers=ORIGIN)


def users_of(client: TestClient) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in client.get("/api/users").json()["users"]}


def write(folder: Path, number: int, **keys: Any) -> None:
    with AuditLog(AuditSection.model_validate({"folder": str(folder), "max_size": 2**20})) as audit:
        for at in range(number):
            said = {"who": "anna", "object": f"press-{at}", "after": {"text": "x" * 500}} | keys
            last = audit.record("alarm-acknowledged", **said)
        last.result(10)


# -- rights --


@pytest.mark.parametrize("name", ["victor", "anna", None])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/users"), ("GET", "/api/audit"), ("POST", "/api/users/unlock")]
)
def test_only_an_administrator_sees_users_and_the_log(page: Page, name: str | None, method: str, path: str) -> None:
    """An engineer has rights at machines, and none over people."""
    client, headers = (page.client(), ORIGIN) if name is None else page.signed_in(name)
    answer = client.request(method, path, headers=headers, json={"name": "anna"} if method == "POST" else None)
    assert answer.status_code == (401 if name is None else 403)
    assert "anna" not in answer.text


def test_an_engineer_and_a_page_without_users_do_not_administer(tmp_path: Path) -> None:
    """The link of a page without users gives the role engineer; `lineside audit` is for the accounts of the box."""
    with serving(tmp_path, users=False) as page:
        client = page.client("http://localhost:8080")
        assert client.get("/login", params={"token": page.link.token}).status_code == 303
        assert client.get("/api/audit").status_code == 403
        assert client.get("/api/users").status_code == 403


# -- users --


def test_users_are_listed_with_role_state_and_last_sign_in(page: Page) -> None:
    client, _ = page.signed_in("ada")
    page.signed_in("anna")
    page.change("victor", disabled=True)
    fail(page, "victor", 2)
    page.entries()
    found = users_of(client)
    assert list(found) == ["ada", "anna", "victor"]
    assert [one["role"] for one in found.values()] == ["admin", "operator", "viewer"]
    assert [one["disabled"] for one in found.values()] == [False, False, True]
    assert [one["failures"] for one in found.values()] == [0, 0, 2]
    signed_in = [entry["time"] for entry in page.entries() if entry["action"] == "login"]
    assert [one["last"] for one in found.values()] == [*signed_in, None]
    assert "password" not in {key for one in found.values() for key in one}


def test_an_administrator_unlocks_a_user_who_then_signs_in_from_the_same_place(page: Page) -> None:
    """A person who has forgotten a password at a terminal would else wait there, because the address counts, too."""
    admin, headers = page.signed_in("ada")
    fail(page, "Anna", 6)
    assert users_of(admin)["anna"]["failures"] == 5
    assert users_of(admin)["anna"]["seconds"] > 0
    terminal, form = page.client(address="10.0.0.9"), {"name": "anna", "password": PASSWORD}
    assert terminal.post("/login", data=form, headers=ORIGIN).status_code == 429
    answer = admin.post("/api/users/unlock", headers=headers, json={"name": "anna"})
    assert (answer.status_code, answer.json()["failures"]) == (200, 0)
    assert users_of(admin)["anna"]["seconds"] == 0
    assert terminal.post("/login", data=form, headers=ORIGIN).status_code == 303
    [entry] = [entry for entry in page.entries() if entry["action"] == "user-unlocked"]
    assert (entry["who"], entry["object"], entry["from"], entry["outcome"]) == ("ada", "anna", "10.0.0.1", "done")
    assert (entry["before"]["failures"], entry["after"]["failures"]) == (5, 0)
    assert verify(page.section.audit.folder).broken is None


# -- roles --


def test_an_administrator_changes_what_a_role_permits_and_that_is_recorded(page: Page) -> None:
    admin, headers = page.signed_in("ada")
    found = admin.get("/api/roles").json()
    assert found["permissions"] == [str(one) for one in Permission]
    assert [(one["name"], one["users"]) for one in found["roles"]] == [
        ("viewer", 1), ("operator", 1), ("engineer", 0), ("admin", 1),
    ]  # fmt: skip
    body = {"name": "operator", "permissions": ["acknowledge"]}
    assert admin.post("/api/roles", headers=headers, json=body).json() == body
    assert (
        admin.post("/api/roles", headers=headers, json={"name": "night-shift", "permissions": []}).status_code == 200
    )
    assert (
        admin.post("/api/roles/remove", headers=headers, json={"name": "night-shift"}).json()["permissions"] is None
    )
    operator, _ = page.signed_in("anna")
    assert operator.get("/api/session").json()["permissions"] == ["acknowledge"]
    entries = [entry for entry in page.entries() if entry["action"].startswith("role-")]
    assert [(one["who"], one["action"], one["object"], one["before"], one["after"]) for one in entries] == [
        (
            "ada",
            "role-changed",
            "operator",
            ["trends", "export", "acknowledge", "shelve", "reasons"],
            ["acknowledge"],
        ),
        ("ada", "role-changed", "night-shift", None, []),
        ("ada", "role-removed", "night-shift", [], None),
    ]
    assert verify(page.section.audit.folder).broken is None


@pytest.mark.parametrize(
    ("address", "body", "status"),
    [
        ("", {"name": "admin", "permissions": ["audit"]}, 409),
        ("", {"name": "operator", "permissions": ["fly"]}, 400),
        ("", {"name": "../x", "permissions": []}, 400),
        ("", {"name": "operator"}, 400),
        ("/remove", {"name": "nobody"}, 400),
    ],
)
def test_a_role_that_can_not_be_changed_so_stays(
    page: Page, address: str, body: dict[str, object], status: int
) -> None:
    """The last administrator keeps the right to manage users."""
    admin, headers = page.signed_in("ada")
    before = page.section.users.read_bytes()
    assert admin.post(f"/api/roles{address}", headers=headers, json=body).status_code == status
    assert page.section.users.read_bytes() == before


def test_users_and_the_audit_log_are_permissions_of_their_own(page: Page) -> None:
    with changing(page.section.users) as users:
        set_role(users, "operator", frozenset({Permission.AUDIT}))
        set_role(users, "viewer", frozenset({Permission.USERS}))
    auditor, headers = page.signed_in("anna")
    assert auditor.get("/api/audit").status_code == 200
    for path in ("/api/users", "/api/roles"):
        assert auditor.get(path).status_code == 403
    body = {"name": "operator", "permissions": ["users"]}
    assert auditor.post("/api/roles", headers=headers, json=body).status_code == 403
    manager, _ = page.signed_in("victor")
    assert (manager.get("/api/roles").status_code, manager.get("/api/audit").status_code) == (200, 403)


def test_a_file_of_users_that_can_not_be_written_is_said(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    admin, headers = page.signed_in("ada")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.users.users_file._write", full)
    body = {"name": "operator", "permissions": []}
    answer = admin.post("/api/roles", headers=headers, json=body)
    assert answer.status_code == 503
    assert "No space left on device" in answer.json()["error"]


def test_a_full_audit_log_does_not_keep_a_user_locked(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """IEC 62443-4-2, CR 2.10: the function goes on, and the lost entry is counted."""
    admin, headers = page.signed_in("ada")
    fail(page, "anna")
    page.entries()
    lost = page.audit.lost

    def full(*_: object) -> None:
        raise Full("the audit log is full")

    monkeypatch.setattr(page.audit._writer, "commit", full)  # noqa: SLF001 - no disk is filled for it
    assert admin.post("/api/users/unlock", headers=headers, json={"name": "anna"}).json()["failures"] == 0
    assert page.audit.lost == lost + 1


def test_an_unlocked_name_leaves_the_failures_of_other_names_from_its_address(page: Page) -> None:
    """An administrator who helps one person must not free an address that guesses names."""
    admin, headers = page.signed_in("ada")
    fail(page, "anna", 1)
    for at in range(4):
        fail(page, f"guessed-{at}", 1)
    admin.post("/api/users/unlock", headers=headers, json={"name": "anna"})
    fail(page, "guessed-5", 1)
    form = {"name": "anna", "password": PASSWORD}
    assert page.client(address="10.0.0.9").post("/login", data=form, headers=ORIGIN).status_code == 429


@pytest.mark.parametrize(
    ("body", "status"),
    [({"name": "nobody"}, 404), ({"name": ""}, 400), ({"name": "x" * 65}, 400), ({}, 400), ({"name": 1}, 400)],
)
def test_a_user_who_is_not_there_is_not_unlocked(page: Page, body: dict[str, Any], status: int) -> None:
    admin, headers = page.signed_in("ada")
    assert admin.post("/api/users/unlock", headers=headers, json=body).status_code == status
    assert page.entries()[-1]["outcome"] == f"failed: {status}"


def test_another_page_can_not_unlock(page: Page) -> None:
    """Neither without the token of the session, nor from another server."""
    admin, headers = page.signed_in("ada")
    fail(page, "anna")
    for wrong in (ORIGIN, headers | {"Origin": "https://evil.example"}):
        assert admin.post("/api/users/unlock", headers=wrong, json={"name": "anna"}).status_code == 403
    assert users_of(admin)["anna"]["failures"] == 5


# -- sign-ins --


def sign_in(folder: Path, name: str, method: str = "password", **keys: Any) -> None:
    with AuditLog(AuditSection.model_validate({"folder": str(folder)})) as audit:
        said = {"after": {"role": "viewer", "method": method}} | keys
        audit.record("login", who=name, **said).result(10)


def test_the_newest_sign_in_of_each_user_and_method_counts(tmp_path: Path) -> None:
    """And a look later reads the entries since then."""
    subject = SignIns(tmp_path)
    assert subject.read() == {}
    for name, method in (("anna", "password"), ("anna", "oidc"), ("anna", "password"), ("ben", "oidc")):
        sign_in(tmp_path, name, method)
    sign_in(tmp_path, "carl", outcome="refused: wrong")
    sign_in(tmp_path, "dora", after="spoiled")
    first = subject.read()
    assert list(first) == [User("anna", "oidc"), User("anna", "password"), User("ben", "oidc")]
    sign_in(tmp_path, "anna", "oidc")
    second = subject.read()
    assert second[User("anna", "oidc")].time > first[User("anna", "oidc")].time
    assert second[User("ben", "oidc")] == first[User("ben", "oidc")]
    assert subject.since == 0


def test_a_long_log_is_read_in_part_and_says_since_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(tmp_path, "anna")
    write(tmp_path, 10)
    monkeypatch.setattr(sign_ins, "MOST_READ", 5)
    subject = SignIns(tmp_path)
    assert subject.read() == {}
    assert subject.since > 0


def test_another_log_in_its_place_is_read_from_its_begin(tmp_path: Path) -> None:
    """As after a restore: the numbers begin again."""
    folder = tmp_path / "audit"
    write(folder, 5)
    sign_in(folder, "anna")
    subject = SignIns(folder)
    assert list(subject.read()) == [User("anna", "password")]
    folder.rename(tmp_path / "old")
    sign_in(folder, "ben")
    found = subject.read()
    assert list(found) == [User("ben", "password")]
    assert all(isinstance(one, SignIn) for one in found.values())


# -- the log --


def test_entries_come_newest_first_over_all_files(tmp_path: Path) -> None:
    write(tmp_path, 300)
    assert len(log_files(tmp_path)) > 1
    numbers = [entry["n"] for entry in entries_newest_first(tmp_path) if entry is not None]
    assert numbers == list(range(numbers[0], 0, -1))
    for before in (1, 2, 150, numbers[0], numbers[0] + 1, 10**9):
        found = [entry["n"] for entry in entries_newest_first(tmp_path, before) if entry is not None]
        assert found == [n for n in numbers if n < before]


def test_a_log_that_is_being_written_or_damaged_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """A line without its line feed is not an entry yet; other lines are counted, whatever they are."""
    assert list(entries_newest_first(tmp_path)) == []
    write(tmp_path, 3)
    [file] = log_files(tmp_path)
    with file.open("ab") as opened:
        opened.write(b"\xff\n" + b"x" * (3 * LONGEST_LINE) + b"\n[]\n{}\n\n" + b'{"n": 1')
    found = list(entries_newest_first(tmp_path))
    assert found[:5] == [None] * 5
    assert [entry["n"] for entry in found if entry] == [4, 3, 2, 1]
    file.write_bytes(b"no line feed")
    assert list(entries_newest_first(tmp_path)) == []


def test_a_link_in_place_of_a_file_is_not_followed(page: Page) -> None:
    """The service would show a file of another to the reader."""
    admin, _ = page.signed_in("ada")
    page.entries()
    [file] = log_files(page.section.audit.folder)
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))
    answer, found = admin.get("/api/audit"), admin.get("/api/users").json()
    assert (answer.status_code, answer.json()["error"]) == (503, found["problem"])
    assert [one["name"] for one in found["users"]] == ["ada", "anna", "victor"]
    assert found["problem"].startswith("the audit log can't be read: is a symbolic link")


def test_the_log_is_searched_by_words_and_outcome(page: Page) -> None:
    admin, _ = page.signed_in("ada")
    fail(page, "anna")
    page.audit.record("alarm-shelved", who="anna", object="press-01/door", after={"comment": "Spare part"}).result(10)

    def found(**query: str) -> list[str]:
        return [one["action"] for one in admin.get("/api/audit", params=query).json()["entries"]]

    assert found()[:2] == ["alarm-shelved", "login-locked"]
    assert found(search="SPARE anna") == ["alarm-shelved"]
    assert found(search="10.0.0.9 refused", outcome="not-done") == ["login-failed"] * 5
    assert found(search="spare", outcome="not-done") == []
    assert found(search="user-unlocked") == []


def test_the_log_is_read_page_by_page(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a search has to read more than a request may."""
    admin, _ = page.signed_in("ada")
    for at in range(25):
        page.audit.record("noted", who="anna", object=f"no-{at}")
    page.entries()
    numbers, query = [], {"limit": "10"}
    while True:
        found = admin.get("/api/audit", params=query).json()
        numbers += [one["n"] for one in found["entries"]]
        if found["next"] is None:
            break
        query["before"] = str(found["next"])
    assert numbers == list(range(numbers[0], 0, -1))
    monkeypatch.setattr(audit_entries, "MOST_READ", 5)
    first = admin.get("/api/audit", params={"search": "no-3"}).json()
    assert (first["entries"], first["next"]) == ([], numbers[0] - 4)


@pytest.mark.parametrize(
    "query", ["before=0", "before=x", "before=" + "9" * 30, "limit=501", "limit=-1", "outcome=denied"]
)
def test_a_request_that_means_nothing_is_refused(page: Page, query: str) -> None:
    admin, _ = page.signed_in("ada")
    assert admin.get(f"/api/audit?{query}").status_code == 400


def test_texts_of_a_forged_line_are_one_line_of_text(page: Page) -> None:
    """A person who can write the file can compute hashes: the page shows its texts, and obeys none of them."""
    admin, _ = page.signed_in("ada")
    page.audit.record("noted", who=HOSTILE, object="a\x1b[2J\u202eb", after={"k": "\u202e" + HOSTILE}).result(10)
    entry = admin.get("/api/audit").json()["entries"][0]
    assert entry["who"] == HOSTILE  # as text: the page sets texts alone
    assert "\u202e" not in str(entry)
    assert "\x1b" not in str(entry)


def test_an_unreadable_log_is_an_error_and_not_an_empty_log(page: Page) -> None:
    admin, _ = page.signed_in("ada")
    page.entries()
    [file] = log_files(page.section.audit.folder)
    with file.open("ab") as opened:
        opened.write(b"{}\n")
    assert admin.get("/api/audit").json()["unreadable"] == 1
    file.unlink()
    os.mkfifo(file)
    assert admin.get("/api/audit").status_code == 503
