"""What roles permit: the changes of an administrator, the file of users, and the right that nobody takes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from secured_page import HASH

from gateway.users.role_changes import BadRole, LastManager, give_role, permissions_of, remove_role, set_role
from gateway.users.roles import DEFAULTS, Permission, Role
from gateway.users.users_file import MOST_ROLES, UnusableUsers, UserTable, changing, new_user, read_users

if TYPE_CHECKING:
    from pathlib import Path

ALL = frozenset(Permission)


def table(**roles: str) -> UserTable:
    """Return users by their roles."""
    return UserTable({name: new_user(role, HASH) for name, role in roles.items()})


def test_a_role_permits_exactly_what_an_administrator_says() -> None:
    users = table(ada="admin", anna="operator")
    change = set_role(users, "operator", frozenset({Permission.ACKNOWLEDGE}))
    assert change == ("operator", ["trends", "export", "acknowledge", "shelve", "reasons"], ["acknowledge"])
    assert users.roles["operator"] == {Permission.ACKNOWLEDGE}
    assert set_role(users, "night-shift", frozenset()) == ("night-shift", None, [])
    assert remove_role(users, "operator").after == ["trends", "export", "acknowledge", "shelve", "reasons"]
    assert remove_role(users, "night-shift") == ("night-shift", [], None)
    assert users.roles == dict(DEFAULTS)


@pytest.mark.parametrize("permissions", [frozenset(), ALL - {Permission.USERS}])
def test_nobody_takes_the_right_to_manage_users_from_the_last_who_has_it(permissions: frozenset[Permission]) -> None:
    """Else only an account of the box could give it back."""
    with pytest.raises(LastManager, match="give another user a role with the permission users first"):
        set_role(table(ada="admin", anna="operator"), "admin", permissions)
    with pytest.raises(LastManager):
        give_role(table(ada="admin", anna="operator"), "ada", "engineer")
    users = table(ada="admin", otto="keeper")
    users.roles["keeper"] = frozenset({Permission.USERS})
    give_role(users, "ada", "engineer")
    with pytest.raises(LastManager):
        set_role(users, "keeper", permissions)


def test_a_disabled_user_manages_nothing_and_a_role_of_the_provider_does() -> None:
    users = table(ada="admin", otto="admin")
    users["otto"] = users["otto"].model_copy(update={"disabled": True})
    with pytest.raises(LastManager):
        give_role(users, "ada", "viewer")
    set_role(users, "plant-it", frozenset({Permission.USERS}))
    give_role(users, "ada", "viewer", ["plant-it"])
    with pytest.raises(LastManager):
        set_role(users, "plant-it", frozenset(), ["plant-it"])


def test_a_plant_whose_users_are_managed_on_the_box_changes_its_roles() -> None:
    set_role(table(anna="operator"), "admin", frozenset())


@pytest.mark.parametrize("name", ["", "Night", "night shift", "../x", "x" * 33, "1st"])
def test_a_text_that_is_no_name_of_a_role_is_refused(name: str) -> None:
    with pytest.raises(BadRole, match="is not the name of a role"):
        set_role(table(), name, frozenset())


def test_mistakes_are_named_with_what_would_be_right() -> None:
    with pytest.raises(BadRole, match=r"'write' is not a permission; there are: trends, export, acknowledge"):
        permissions_of(["trends", "write"])
    with pytest.raises(BadRole, match=r"'boss' is not a role; there are: viewer, operator, engineer, admin"):
        give_role(table(anna="viewer"), "anna", "boss")
    users = table(anna="viewer")
    set_role(users, "night-shift", frozenset())
    give_role(users, "anna", "night-shift")
    with pytest.raises(BadRole, match="anna has the role night-shift; give that user another role first"):
        remove_role(users, "night-shift")
    for at in range(MOST_ROLES - len(users.roles)):
        set_role(users, f"role-{at}", frozenset())
    with pytest.raises(BadRole, match="there are at most"):
        set_role(users, "further", frozenset())


def test_the_file_has_the_roles_that_differ_from_the_default(tmp_path: Path) -> None:
    """A file of before has none, and an upgrade that adds a permission gives it to the roles of the default."""
    file = tmp_path / "users.yaml"
    with changing(file) as users:
        users["anna"] = new_user(Role.OPERATOR, HASH)
    assert "roles" not in file.read_text()
    with changing(file) as users:
        set_role(users, "operator", frozenset({Permission.SHELVE, Permission.TRENDS}))
        set_role(users, "night-shift", frozenset())
    assert "roles:\n  operator:\n  - trends\n  - shelve\n  night-shift: []\n" in file.read_text()
    found = read_users(file)
    assert found.roles["operator"] == {Permission.SHELVE, Permission.TRENDS}
    assert found.roles["night-shift"] == frozenset()
    assert found.roles["viewer"] == DEFAULTS["viewer"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roles: {operator: [write]}", "roles.operator"),
        ("roles: {'../x': []}", "roles"),
        ("roles: {operator: trends}", "roles.operator"),
        (
            f"users: {{anna: {{role: boss, password: '{HASH}', created: '2026-12-01T06:00:00Z'}}}}",
            "anna has the role boss; there are: viewer, operator, engineer, admin",
        ),
    ],
)
def test_roles_that_are_wrong_make_the_file_unusable(tmp_path: Path, text: str, message: str) -> None:
    """A role that nobody knows must not become a role with rights."""
    file = tmp_path / "users.yaml"
    file.write_text(f"format: 1\n{text}\n")
    file.chmod(0o600)
    with pytest.raises(UnusableUsers) as caught:
        read_users(file)
    assert message in str(caught.value)
