"""Workbooks of Excel are tables like any other, and nothing in them can exhaust a machine."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from click.testing import CliRunner, Result
from points import points_alone

from drivers import extras
from gateway.cli import main
from gateway.importers import table, workbook
from gateway.settings.load import load_factory
from gateway.settings.serialize import least
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def saved(file: Path, **sheets: Sequence[Sequence[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name.replace("_", " "))
        for row in rows:
            sheet.append(list(row))
    book.save(file)
    return file


def imported(file: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["import", str(file), "--out", str(file.parent / "out"), *options])


def points(folder: Path, machine: int = 0) -> dict[str, dict[str, Any]]:
    return {p.name: least(p) for p in load_factory(folder / "out" / "factory.yaml").machines[machine].points}


MODBUS = ("--connection", "modbus+tcp://10.0.0.1?unit=3")


def test_a_list_of_registers_is_read_from_all_sheets(tmp_path: Path) -> None:
    """A sheet may be called after its table, and others have no addresses; the header may be below a title."""
    file = saved(
        tmp_path / "manual.xlsx",
        Cover=[["Manual of the meter"], ["Version 3"]],
        Holding_registers=[
            ["Table 1"], [], ["Address", "Signal", "Type", "Factor", "Unit", "Access"],
            [0, "Voltage", "U16", 0.1, "V", "R"], [1, "Power", "S32", 1, "W", "R"], [3, "Reset", "U16", 1, None, "W"],
        ],
        Input_registers=[["Address", "Signal", "Type"], [0, "Frequency", "REAL"], [True, "odd", "U16"],
                         *([n, f"Phase {n}", "REAL"] for n in (2, 4, 6))],
        Coils=[["Address", "Signal"], [7, "Relay"]],
    )  # fmt: skip
    ran = imported(file, *MODBUS)
    assert ran.exit_code == 0, ran.output
    assert points(tmp_path) == {
        "Voltage": {"address": "holding 0", "scale": 0.1, "unit": "V"},
        "Power": {"address": "holding 1", "raw": "int32", "unit": "W"},
        "Frequency": {"address": "input 0", "raw": "float32"},
        **{f"Phase_{n}": {"address": f"input {n}", "raw": "float32"} for n in (2, 4, 6)},
        "Relay": {"address": "coil 7"},
    }
    assert "manual.xlsx:Cover!1: sheet Cover: is left out: it has no column of addresses" in ran.stderr
    assert "manual.xlsx:Holding registers!6: Reset: is left out: it is only written to" in ran.stderr
    assert "manual.xlsx:Input registers!3: odd: is left out: 'true' is not an address" in ran.stderr
    ran = imported(file, *MODBUS, "--sheet", "Coils", "--force")
    assert (ran.exit_code, points(tmp_path)) == (0, {"Relay": {"address": "coil 7"}})
    ran = imported(file, *MODBUS, "--sheet", "Coil", "--force")
    assert (ran.exit_code, "unknown sheet 'Coil'; did you mean 'Coils'?" in ran.stderr) == (1, True)


def test_tags_of_neuron_are_read_from_its_workbook(tmp_path: Path) -> None:
    """One machine for each unit of the addresses."""
    head = [
        "group",
        "interval",
        "name",
        "address",
        "attribute",
        "type",
        "description",
        "decimal",
        "precision",
        "bias",
    ]
    file = saved(
        tmp_path / "tags.xlsx",
        tags=[
            head,
            ["fast", 100, "level", "1!400001", "Read,Subscribe", "INT16", "Level", 0.1, 0, -5],
            ["fast", 100, "force", "1!400003#BL", "Read,Write", "FLOAT", None, None, 2, None],
            ["slow", 2000, "door", "2!100004", "Read", "BIT", None, None, None, None],
            ["slow", 2000, "start", "2!000004", "Write", "BIT", None, None, None, None],
        ],
    )
    ran = imported(file, "--connection", "modbus+tcp://10.0.0.1", "--machine", "press")
    assert ran.exit_code == 0, ran.output
    assert points(tmp_path, 0) == {
        "level": {"address": "holding 0", "raw": "int16", "scale": 0.1, "offset": -5, "description": "Level",
                  "on_change": True, "every": "100ms"},
        "force": {"address": "holding 2", "raw": "float32", "order": "CDAB", "every": "100ms"},
    }  # fmt: skip
    assert points(tmp_path, 1) == {"door": {"address": "discrete 3", "every": "2s"}}
    machines = load_factory(tmp_path / "out" / "factory.yaml").machines
    assert [(one.path.machine, one.written["connection"]) for one in machines] == [
        ("press", "modbus+tcp://10.0.0.1?unit=1"), ("press-2", "modbus+tcp://10.0.0.1?unit=2")
    ]  # fmt: skip
    assert "tags.xlsx:tags!5: start: is left out: it is only written to" in ran.stderr


def test_a_tag_table_of_tia_is_read_from_its_workbook(tmp_path: Path) -> None:
    """Its second sheet has properties of the tables, and nothing to read."""
    file = saved(
        tmp_path / "PLCTags.xlsx",
        PLC_Tags=[
            [
                "Name",
                "Path",
                "Data Type",
                "Logical Address",
                "Comment",
                "Hmi Visible",
                "Hmi Accessible",
                "Hmi Writeable",
            ],
            ["Speed", "Drives", "Real", "%MD20", "of the belt", "True", "True", "True"],
            ["Hidden", "Drives", "Int", "%MW24", None, "False", "False", "False"],
        ],
        TagTable_Properties=[["Path", "BelongsToUnit", "Accessibility"], ["Drives", None, None]],
    )
    ran = imported(file, "--connection", "opc.tcp://10.0.0.1:4840")
    assert ran.exit_code == 0, ran.output
    assert points(tmp_path) == {
        "Speed": {"node": 'ns=3;s="Speed"', "type": "float", "description": "of the belt %MD20"}
    }
    ran = imported(file, *MODBUS, "--force")
    assert (ran.exit_code, "the memory of an S7 is not Modbus" in ran.stderr) == (1, True)


@pytest.mark.slow
def test_points_that_are_exported_to_a_workbook_are_read_back_unchanged(tmp_path: Path) -> None:
    """A spreadsheet is where many people like to change points."""
    plant = bundled_config() / "appliance-plant.yaml"
    factory = load_factory(plant)
    file = tmp_path / "points.xlsx"
    assert CliRunner().invoke(main, ["export-points", str(plant), "--out", str(file)]).exit_code == 0
    whose = ["--enterprise", factory.factory.enterprise, "--site", factory.factory.site]
    ran = imported(file, *whose)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert load_factory(tmp_path / "out" / "factory.yaml").machines == points_alone(factory.machines)


def test_without_openpyxl_a_line_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's own installation does not need it."""
    file = saved(tmp_path / "manual.xlsx", a=[["Address", "Name"], [1, "x"]])
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "openpyxl" else object())
    ran = imported(file, *MODBUS)
    assert (ran.exit_code, ran.stderr) == (
        1, f"Error: a workbook of Excel needs the extra xlsx; {extras.instruction('xlsx')}\n"
    )  # fmt: skip


def test_a_text_that_begins_like_a_formula_stays_a_text() -> None:
    """A description of `=1+1` is not a sum."""
    sheets = workbook.read_workbook(workbook.write_workbook(["point", "description"], [{"description": "=1+1"}]))
    assert [row.cells for row in sheets["points"]] == [["point", "description"], ["", "=1+1"]]


def repacked(file: Path, part: str, content: bytes) -> None:
    """Replace a part of a workbook."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, old in (parts | {part: content}).items():
            archive.writestr(name, content if name == part else old)


ROWS = 2_000
SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'
CELL = b'<c r="%s" t="inlineStr"><is><t>%s</t></is></c>'


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("xl/media/zeros", bytes(workbook.MOST_UNPACKED), "it is larger than 256 MiB unpacked"),
        ("xl/worksheets/sheet1.xml", b"<", "it is not a workbook that can be read"),
        ("xl/workbook.xml", b"<workbook/>", "there is nothing in it"),
        (
            "xl/worksheets/sheet1.xml",
            b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + SHEET % (CELL % (b"A1", b"&b;")),
            "Entit",
        ),
        (
            "xl/worksheets/sheet1.xml",
            b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + SHEET % (CELL % (b"A1", b"&a;")),
            "Entit",
        ),
        (
            "xl/worksheets/sheet1.xml",
            SHEET % b"".join(b"<row>%s</row>" % (CELL % (b"A%d" % i, b"x")) for i in range(1, ROWS + 3)),
            "it has more than 2,000 rows",
        ),
    ],
    ids=["bomb", "damaged-sheet", "damaged-workbook", "entities", "external-entity", "rows"],
)
def test_a_hostile_workbook_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, content: bytes, message: str
) -> None:
    """Bombs, entities, rows that do not end."""
    monkeypatch.setattr(table, "MOST_ROWS", ROWS)
    file = saved(tmp_path / "manual.xlsx", a=[["Address", "Name"], [1, "x"]])
    repacked(file, part, content)
    assert file.stat().st_size < 8 * 2**20
    ran = imported(file, *MODBUS)
    assert (ran.exit_code, len(ran.stderr.splitlines())) == (1, 1), ran.output
    assert message in ran.stderr
    assert "root:" not in ran.stderr


def test_a_row_that_claims_to_be_far_away_ends_a_sheet(tmp_path: Path) -> None:
    """A million empty rows would cost minutes."""
    file = saved(tmp_path / "manual.xlsx", a=[["Address", "Name"], [1, "x"]])
    rows = ((1, b"Address", b"Name"), (2, b"5", b"a"), (1_048_576 * 9, b"6", b"b"))
    cells = (
        b'<row r="%d">%s%s</row>' % (i, CELL % (b"A%d" % i, one), CELL % (b"B%d" % i, two)) for i, one, two in rows
    )
    repacked(file, "xl/worksheets/sheet1.xml", SHEET % b"".join(cells))
    assert imported(file, *MODBUS).exit_code == 0
    assert points(tmp_path) == {"a": {"address": "holding 5"}}


@pytest.mark.slow
def test_a_workbook_that_is_cut_short_is_refused_in_a_line(tmp_path: Path) -> None:
    """At any byte."""
    whole = saved(tmp_path / "manual.xlsx", a=[["Address", "Name"], [1, "x"]]).read_bytes()
    for size in range(1, len(whole), 97):
        (tmp_path / "cut.xlsx").write_bytes(whole[:size])
        ran = imported(tmp_path / "cut.xlsx", *MODBUS)
        assert (ran.exit_code, len(ran.stderr.splitlines()), type(ran.exception)) == (1, 1, SystemExit), ran.output


def test_an_encrypted_or_other_archive_is_named(tmp_path: Path) -> None:
    """A ZIP archive is the shell of many kinds."""
    for name, part, kind in (
        ("a.docx", "word/document.xml", "a document of Word"), ("a.xlsb", "xl/workbook.bin", "a binary workbook"),
        ("a.zip", "tags.csv", "a ZIP archive: unpack it"), ("b.zip", "PLC.ap17", "a TIA Portal project archive"),
        ("a.gwbk", "db_backup_sqlite.idb", "a gateway backup of Ignition"), ("a.ods", "content.xml", "LibreOffice"),
    ):  # fmt: skip
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(part, b"")
        (tmp_path / name).write_bytes(packed.getvalue())
        ran = imported(tmp_path / name, *MODBUS)
        assert (ran.exit_code, kind in ran.stderr) == (1, True), ran.stderr
