"""The commands `lineside users` and `lineside audit`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
import yaml
from argon2 import PasswordHasher
from click.testing import CliRunner, Result
from dashboards import factory
from pydantic import ValidationError

from gateway.audit.files import log_files
from gateway.cli import main
from gateway.settings.dashboard_section import DashboardSection
from gateway.users import passwords
from gateway.users.users_file import read_users

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "kettle-river-41-piano"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("argon2.PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return factory(tmp_path)


def run(*arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def add(config: Path, name: str, role: str = "operator") -> Result:
    return run("users", "add", config, name, "--role", role, "--password-stdin", stdin=f"{GOOD}\n")


def test_a_user_is_added_changed_and_removed_and_the_audit_log_says_so(config: Path) -> None:
    file = config.parent / "lineside-data" / "users.yaml"
    assert add(config, "anna").exit_code == 0
    assert GOOD not in file.read_text()
    assert run("users", "role", config, "anna", "--role", "admin").exit_code == 0
    assert run("users", "disable", config, "anna").exit_code == 0
    assert run("users", "password", config, "anna", "--password-stdin", stdin="piano-41-river-kettle").exit_code == 0
    assert read_users(file)["anna"].disabled
    assert run("users", "enable", config, "anna").exit_code == 0
    listed = json.loads(run("users", "list", config, "--format", "json").stdout)["users"]
    assert [(user["name"], user["role"], user["disabled"]) for user in listed] == [("anna", "admin", False)]
    assert run("users", "remove", config, "anna").exit_code == 0
    assert read_users(file) == {}
    lines = run("audit", "show", config, "--action", "user-*", "--format", "json").stdout.splitlines()
    assert [json.loads(line)["action"] for line in lines] == [
        "user-added", "user-role", "user-disabled", "user-password", "user-enabled", "user-removed",
    ]  # fmt: skip
    role = json.loads(lines[1])
    assert (role["object"], role["before"]["role"], role["after"]["role"]) == ("anna", "operator", "admin")
    assert "argon2" not in "".join(lines)
    assert GOOD not in "".join(lines)


def test_the_least_length_of_new_passwords_is_configured(config: Path) -> None:
    """A plant has rules of its own; a user of before keeps the password until it is changed."""
    assert add(config, "anna").exit_code == 0
    section = yaml.safe_load(config.read_text(encoding="utf-8"))
    section.setdefault("dashboard", {})["password_length"] = len(GOOD) + 1
    config.write_text(yaml.safe_dump(section, sort_keys=False), encoding="utf-8")
    message = f"at least {len(GOOD) + 1} characters"
    assert message in add(config, "ben").stderr
    assert message in run("users", "password", config, "anna", "--password-stdin", stdin=f"{GOOD}\n").stderr
    assert run("users", "password", config, "anna", "--password-stdin", stdin=f"{GOOD}s\n").exit_code == 0
    listed = json.loads(run("users", "list", config, "--format", "json").stdout)["users"]
    assert [user["name"] for user in listed] == ["anna"]


@pytest.mark.parametrize(("length", "valid"), [(11, False), (12, True), (128, True), (129, False)])
def test_the_least_length_of_passwords_has_bounds(length: int, valid: bool) -> None:  # noqa: FBT001
    """Fewer characters are too easy to guess; with more nobody could sign in."""
    with nullcontext() if valid else pytest.raises(ValidationError, match="password_length"):
        DashboardSection(password_length=length)


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("add", "anna", "--role", "operator", "--password-stdin"), "short", "at least 12 characters"),
        (("add", "anna", "--role", "operator"), "", "--password-stdin"),
        (("add", "../x", "--role", "operator", "--password-stdin"), GOOD, "is not a user name"),
        (
            ("add", "anna", "--role", "boss", "--password-stdin"),
            GOOD,
            "'boss' is not a role; there are: viewer, operator",
        ),
        (("remove", "carl"), "", "there is no user 'carl'; there are: dora"),
        (("add", "DORA", "--role", "operator", "--password-stdin"), GOOD, "there is a user 'dora'"),
    ],
)
def test_a_mistake_is_said_in_one_line(config: Path, arguments: tuple[str, ...], stdin: str, message: str) -> None:
    add(config, "dora")
    command, *rest = arguments
    result = run("users", command, config, *rest, stdin=stdin)
    assert result.exit_code != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_roles_are_changed_and_the_audit_log_says_so(config: Path) -> None:
    assert add(config, "ada", "admin").exit_code == 0
    assert "is not a permission" in run("users", "set-role", config, "operator", "fly").stderr
    done = run("users", "set-role", config, "operator", "acknowledge", "trends")
    assert (done.exit_code, done.stdout) == (0, f"{'operator':<24}  trends, acknowledge\n")
    assert run("users", "set-role", config, "night-shift").exit_code == 0
    assert add(config, "nina", "night-shift").exit_code == 0
    assert "nina has the role night-shift" in run("users", "remove-role", config, "night-shift").stderr
    found = json.loads(run("users", "roles", config, "--format", "json").stdout)["roles"]
    assert [(one["name"], one["changed"]) for one in found] == [
        ("viewer", False), ("operator", True), ("engineer", False), ("admin", False), ("night-shift", True),
    ]  # fmt: skip
    assert "nobody would be left" in run("users", "set-role", config, "admin", "trends").stderr
    assert "nobody would be left" in run("users", "role", config, "ada", "--role", "viewer").stderr
    assert run("users", "remove-role", config, "operator").exit_code == 0
    assert run("users", "role", config, "nina", "--role", "viewer").exit_code == 0
    assert run("users", "remove-role", config, "night-shift").stdout == "night-shift is removed\n"
    lines = run("audit", "show", config, "--action", "role-*", "--format", "json").stdout.splitlines()
    usual = ["trends", "export", "acknowledge", "shelve", "reasons"]
    assert [(one["action"], one["object"], one["before"], one["after"]) for one in map(json.loads, lines)] == [
        ("role-changed", "operator", usual, ["trends", "acknowledge"]),
        ("role-changed", "night-shift", None, []),
        ("role-changed", "operator", ["trends", "acknowledge"], usual),
        ("role-removed", "night-shift", [], None),
    ]


def test_a_password_is_never_an_argument(config: Path) -> None:
    """Arguments are in the list of processes, and in the history of the shell."""
    assert run("users", "add", config, "anna", GOOD, "--role", "admin").exit_code == 2


def test_verify_says_that_the_log_is_right_or_names_the_first_broken_entry(config: Path) -> None:
    add(config, "anna")
    add(config, "ben")
    result = run("audit", "verify", config)
    assert result.exit_code == 0
    assert "3 entries are right" in result.stdout
    [file] = log_files(config.parent / "lineside-data" / "audit")
    file.write_bytes(file.read_bytes().replace(b'"anna"', b'"carl"'))
    result = run("audit", "verify", config)
    assert result.exit_code == 1
    assert "audit-000001.jsonl:2: entry 2: the entry was changed" in result.stderr
    report = json.loads(run("audit", "verify", config, "--format", "json").stdout)
    assert report["right"] is False
    assert report["broken"]["n"] == 2


def test_show_chooses_by_who_and_when(config: Path) -> None:
    add(config, "anna")
    assert "user-added" in run("audit", "show", config, "--last", "1h").stdout
    assert run("audit", "show", config, "--who", "nobody").stdout == ""
    assert run("audit", "show", config, "--from", "2100-01-01").stdout == ""


def test_nothing_is_recorded_yet(config: Path) -> None:
    assert run("audit", "show", config).exit_code == 0
    assert run("audit", "verify", config).exit_code == 0
    assert passwords.SHORTEST == 12
