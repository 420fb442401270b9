"""The documents are true: their YAML loads, their commands exist, and the container is built like the tests."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import COMMANDS, main
from gateway.settings.load import KEYS, load_factory
from gateway.settings.standalone import check_template

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[pytest.param]:
    """Return every fenced block of a language, with its document and line."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 2
            found.append(pytest.param(document, match[1], id=f"{document.name}:{line}"))
    return found


def templates_of(document: Path) -> dict[str, str]:
    """Return the templates that a document shows by the names of their files."""
    text = document.read_text(encoding="utf-8")
    return dict(re.findall(r"`machines/([\w-]+)\.yaml`[^\n]*\n\n```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize(("document", "text"), blocks("yaml"))
def test_yaml_that_is_shown_loads(tmp_path: Path, document: Path, text: str, monkeypatch: pytest.MonkeyPatch):
    """A reader pastes it. A part of a factory is completed with the least that a factory needs."""
    monkeypatch.setenv("EDGE_ID", "edge-07")
    data = yaml.safe_load(text)
    if "protocol" in data:
        for name, template in (templates_of(document) | {"shown": text}).items():
            (tmp_path / f"{name}.yaml").write_text(template, encoding="utf-8")
        assert check_template(tmp_path / "shown.yaml").problems == []
        return
    assert set(data) <= set(KEYS), "neither a template nor a part of a factory"
    least = {
        "format": 1,
        "factory": {"enterprise": "acme", "site": "north"},
        "gateway": {"id": "edge-01"},
        "broker": {"url": "mqtt://localhost:1883"},
        "lines": {
            "line": {
                "area": "area",
                "machines": {"m": {"template": "curing-press", "connection": "modbus+tcp://localhost:502"}},
            }
        },
    }
    (tmp_path / "machines").mkdir()
    for name, template in templates_of(document).items():
        (tmp_path / "machines" / f"{name}.yaml").write_text(template, encoding="utf-8")
    file = tmp_path / "factory.yaml"
    rest = {key: value for key, value in least.items() if key not in data}
    file.write_text(text + (yaml.safe_dump(rest) if rest else ""), encoding="utf-8")
    assert load_factory(file).machines


def commands() -> list[tuple[str, str]]:
    """Return every `lineside` command that a document shows in a shell block or a table."""
    found = set()
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        shells = "\n".join(match[1] for match in re.finditer(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        lines = re.findall(r"^(?:[A-Z_]+=\S+ )*lineside (.*)$", shells, re.MULTILINE)
        lines += re.findall(r"^\| `lineside ([^`]*)`", text, re.MULTILINE)
        found |= {(document.name, line) for line in lines}
    return sorted(found)


@pytest.mark.parametrize(("document", "line"), commands())
def test_commands_that_are_shown_exist_with_their_options(document: str, line: str):
    """A command that was renamed must be renamed where it is shown."""
    assert document
    words = line.split("#", maxsplit=1)[0].split()
    group = main.get_command(click.Context(main), words[0])
    name = words[: 2 if isinstance(group, click.Group) else 1]
    result = CliRunner().invoke(main, [*name, "--help"])
    assert result.exit_code == 0, result.output
    for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(words)):
        assert option in result.output, f"{' '.join(name)} has no {option}"


def test_every_command_is_in_the_table_of_the_readme():
    """The table is where a newcomer learns what there is."""
    shown = {line.split()[0] for document, line in commands() if document == "README.md"}
    assert {name for name, command in COMMANDS.items() if command.help} <= shown


def test_every_page_is_linked_from_the_readme():
    """A page without a link is not found."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))
    assert len(pages) > 10
    assert [page for page in pages if f"]({page})" not in readme] == []


def test_architecture_names_rooms_that_exist():
    """The page is the plan of the house: a room that was moved must be moved in the plan."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:gateway|drivers|simulators)/[\w/.]*)`", text))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    walk = re.findall(r"^\d+\. \*\*`([\w/.]+)`", text, re.MULTILINE)
    assert 8 <= len(walk) <= 12
    assert set(walk) <= named
    steps = {path.name for path in (ROOT / "gateway").iterdir() if (path / "__init__.py").exists()}
    assert {step for step in steps if f"`gateway/{step}`" not in text} == set()


def test_every_fault_names_a_test_that_exists():
    """A promise in the table of faults is worth as much as its test."""
    text = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
    faults = text[text.index("## Faults") :]
    rows = [line.strip("| ").split(" | ") for line in faults.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0] != "fault"]
    assert len(rows) > 30
    for fault, effect, shown, test in rows:
        assert effect
        assert shown
        named = re.findall(r"`([\w/]+\.py)(?:::(test_\w+))?`", test)
        assert named, fault
        for file, name in named:
            assert f"def {name or 'test_'}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (
                f"{fault}: {file}::{name}"
            )


def test_links_between_documents_lead_somewhere():
    """A page that was moved must be moved in the links to it."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_links_to_headings_lead_somewhere():
    """A heading that was renamed must be renamed in the links to it."""
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
            page = document.parent / target if target else document
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{document.name} links to {target}#{anchor}"


def test_the_container_is_built_with_the_steps_that_make_runs():
    """CI does not build the image, so the image must be built with the commands that CI runs."""
    makefile, dockerfile = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "Dockerfile"))
    steps = re.findall(r"bin/pip install (.+?)(?: \\)?$", dockerfile, re.MULTILINE)
    assert set(steps) == {
        "--require-hashes -r requirements.txt",
        "--require-hashes -r requirements-service.txt",
        "--no-deps /wheels/lineside-*.whl",
    }
    assert "tools/install-packages $(VENV) requirements.txt" in makefile
    for file in makefile, dockerfile:
        assert "-m simulators.opcua.standard_nodes\n" in file
    for copied in re.findall(r"^COPY (?!--from)(?:--chmod=\d+ )?(.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / name).exists() for name in copied.split())
    for removed in re.findall(r"&& rm -r (.+?)(?: \\)?$", dockerfile, re.MULTILINE):
        assert all((ROOT / name).is_dir() for name in removed.split())


def test_the_last_image_is_that_of_the_gateway():
    """`docker build .` builds the last stage: without a base that can change, a root user and simulated machines."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.MULTILINE)[-1] == ("base", "gateway")
    (base,) = re.findall(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    assert re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE) == ["10001"]
    assert dockerfile.rstrip().endswith('CMD ["lineside-health"]')


def test_packages_of_a_plant_are_a_part_of_all_packages():
    """A gateway in a container or from a Debian package runs with the versions that the tests run with."""
    pins = [
        dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements-service.txt", "requirements.txt")
    ]
    assert {"asyncua", "influxdb-client", "pyserial", "zstandard"} <= pins[0].keys()
    assert pins[0].items() <= pins[1].items()
    assert {"pymodbus", "amqtt", "rich"}.isdisjoint(pins[0])


def test_the_notice_names_every_package_of_a_plant():
    """A person who passes Lineside on has to know whose work is in it."""
    requirements = (ROOT / "requirements-service.txt").read_text(encoding="utf-8")
    needed = re.findall(r"^([a-z0-9._-]+)==", requirements, re.MULTILINE)
    (listed,) = re.findall(
        r"for gateway, ingest and page:\n\n(.*)", (ROOT / "NOTICE").read_text(encoding="utf-8"), re.DOTALL
    )
    assert re.findall(r"[a-z0-9._-]+", listed) == needed


@pytest.mark.parametrize("file", ["deploy/compose/lineside/factory.yaml", "deploy/debian/factory.yaml"])
def test_configurations_for_deployment_are_right(file: str):
    """Users paste them, too."""
    assert load_factory(ROOT / file).machines


def test_requirements_are_hashed_and_name_no_registry():
    """A box must be able to install from a mirror, and only the tested versions."""
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-service.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        pins = re.findall(r"^[a-z0-9._-]+==", text, re.MULTILINE)
        assert len(pins) > 20
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text
