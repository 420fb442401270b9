"""Lists of registers are read as the people who write manuals mean them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.importers.register_address import Entry, parse_address, parse_table
from gateway.importers.register_type import RawType, is_written_only, parse_factor, parse_type
from gateway.settings.load import load_factory
from gateway.settings.serialize import least

if TYPE_CHECKING:
    from pathlib import Path

CONNECTION = ("--connection", "modbus+tcp://10.0.0.1?unit=3")


def imported(folder: Path, text: str, *options: str, encoding: str = "utf-8") -> Result:
    file = folder / "list.csv"
    file.write_bytes(text.encode(encoding))
    return CliRunner().invoke(main, ["import", str(file), "--out", str(folder / "out"), *CONNECTION, *options])


def points(folder: Path) -> dict[str, dict[str, Any]]:
    [machine] = load_factory(folder / "out" / "factory.yaml").machines
    return {point.name: least(point) for point in machine.points}


@pytest.mark.parametrize(
    ("written", "entry"),
    [
        ("40001", Entry("", 40001, certain=False)),
        ("0", Entry("", 0, certain=False)),
        ("400100", Entry("", 400100, certain=False)),
        ("00012", Entry("coil", 11, certain=True)),
        ("4x0001", Entry("holding", 0, certain=True)),
        ("3X 12", Entry("input", 11, certain=True)),
        ("4:00100", Entry("holding", 99, certain=True)),
        ("0x0064", Entry("", 100, certain=True)),
        ("0064H", Entry("", 100, certain=True)),
        ("64 hex", Entry("", 100, certain=True)),
        ("&H10", Entry("", 16, certain=True)),
        ("HR 12", Entry("holding", 12, certain=False)),
        ("IR5", Entry("input", 5, certain=False)),
        ("Holding Register 7", Entry("holding", 7, certain=False)),
        ("%MW100", Entry("holding", 100, certain=True)),
        ("%M5", Entry("coil", 5, certain=True)),
        ("40001-40002", Entry("", 40001, certain=False, registers=2)),
        ("0x10..0x13", Entry("", 16, certain=True, registers=4)),
        ("100 ~ 101", Entry("", 100, certain=False, registers=2)),
        ("100 to 103", Entry("", 100, certain=False, registers=4)),
        ("40010.3", Entry("", 40010, certain=False, bit=3)),
        ("0x20.15", Entry("", 32, certain=True, bit=15)),
        ("40010 bit 7", Entry("", 40010, certain=False, bit=7)),
    ],
)
def test_addresses_are_read_in_the_forms_of_manuals(written: str, entry: Entry) -> None:
    """In Modicon notation, in hexadecimal, with the table, as a range, with a bit."""
    assert parse_address(written) == entry


@pytest.mark.parametrize("written", ["", "abc", "4x0000", "00000", "0x1FFFF", "D100", "40001.99999", "-1", "1e5"])
def test_other_texts_are_not_addresses(written: str) -> None:
    """Also beyond the last entry, and before the first."""
    with pytest.raises(ValueError, match=r"is not an address|before the first|beyond the last"):
        parse_address(written)


@pytest.mark.parametrize(
    ("written", "registers", "kind"),
    [
        ("U16", 0, "uint16"), ("S16", 0, "int16"), ("UINT16", 0, "uint16"), ("INT16U", 0, "uint16"),
        ("U32", 0, "uint32"), ("S32", 0, "int32"), ("unsigned 32 bit", 0, "uint32"), ("Signed 16-bit", 0, "int16"),
        ("16 bit unsigned integer", 0, "uint16"), ("WORD", 0, "uint16"), ("DWORD", 0, "uint32"), ("INT", 0, "int16"),
        ("INT", 2, "int32"), ("UINT", 4, "uint64"), ("DINT", 0, "int32"), ("UDINT", 0, "uint32"),
        ("LONG", 0, "int32"),
        ("unsigned long", 0, "uint32"), ("FLOAT", 0, "float32"), ("Float32", 0, "float32"), ("float", 4, "float64"),
        ("REAL", 0, "float32"), ("LREAL", 0, "float64"), ("double", 0, "float64"), ("F64", 0, "float64"),
        ("IEEE 754", 0, "float32"), ("double word", 0, "uint32"), ("BOOL", 0, "bool"), ("bit", 0, "bool"),
        ("BCD", 0, "bcd16"), ("BCD32", 0, "bcd32"), ("Enum", 0, "uint16"), ("bitfield32", 0, "uint32"),
        ("acc32", 0, "uint32"), ("USINT", 0, "uint8"), ("BYTE", 0, "uint8"), ("U64", 0, "uint64"),
        ("无符号16位", 0, "uint16"), ("有符号32位整型", 0, "int32"), ("单精度浮点", 0, "float32"),
        ("布尔", 0, "bool"),
        ("vorzeichenlos 16 Bit", 0, "uint16"), ("Gleitkomma", 0, "float32"),
    ],
)  # fmt: skip
def test_types_are_read_in_the_words_of_manuals(written: str, registers: int, kind: str) -> None:
    """The size of the list decides where the word does not say one."""
    assert parse_type(written, registers).raw == kind


def test_a_type_may_say_its_length_and_its_order() -> None:
    """As `STRING(16)`, and `float CDAB`."""
    assert parse_type("STRING(16)") == RawType("string", 16)
    assert parse_type("ASCII") == RawType("string")
    assert parse_type("float CDAB") == RawType("float32", order="CDAB")


@pytest.mark.parametrize("written", ["", "date", "UTC", "abc", "DTL", "?"])
def test_other_words_are_not_types(written: str) -> None:
    """A guess would be an invented value."""
    with pytest.raises(ValueError, match="is not a type"):
        parse_type(written)


@pytest.mark.parametrize(
    ("written", "factor"),
    [
        ("0.1", 0.1), ("0,1", 0.1), ("x0.1", 0.1), ("\u00d70.01", 0.01), ("*0.5", 0.5), ("1/100", 0.01), ("/10", 0.1),
        ("\u00f7 10", 0.1), ("1:10", 0.1), ("10^-1", 0.1), ("x10^-2", 0.01), ("10**2", 100), ("1E-1", 0.1), ("1", 1),
        ("0.1 bar", 0.1), ("-1", -1), ("10", 10), ("1 / 3", 1 / 3),
    ],
)  # fmt: skip
def test_factors_are_read_in_the_forms_of_manuals(written: str, factor: float) -> None:
    """With a decimal comma, as a fraction, as a power of ten, with the unit behind it."""
    assert parse_factor(written) == factor


@pytest.mark.parametrize("written", ["", "abc", "SF", "1/0", "0", "1,000.5", "1e999", "10^999"])
def test_other_texts_are_not_factors(written: str) -> None:
    """Nor is a factor of 0."""
    with pytest.raises(ValueError, match="is not a"):
        parse_factor(written)


@pytest.mark.parametrize(
    ("written", "by_function", "table"),
    [
        ("", True, ""), ("3", True, "holding"), ("4", True, "input"), ("03", True, "holding"),
        ("0x04", True, "input"),
        ("FC 1", False, "coil"), ("3", False, "input"), ("4", False, "holding"), ("4x", True, "holding"),
        ("3x", True, "input"), ("Holding Register", True, "holding"), ("Input Register", True, "input"),
        ("03/06/16", True, "holding"), ("Coil", False, "coil"), ("Discrete Input", False, "discrete"),
        ("Input Status", False, "discrete"), ("保持寄存器", True, "holding"),
        ("输入寄存器", True, "input"), ("线圈", True, "coil"),
        ("Halteregister", False, "holding"), ("Eingangsregister", False, "input"),
    ],
)  # fmt: skip
def test_tables_are_read_by_word_and_number(written: str, by_function: bool, table: str) -> None:  # noqa: FBT001
    """A number is a function code, or the digit of Modicon notation: 3 is holding in one, and input in the other."""
    assert parse_table(written, by_function=by_function) == table


def test_registers_that_are_only_written_to_are_known_by_their_access() -> None:
    """They can't be read."""
    access = ("W", "WO", "write only", "只写", "R", "RW", "R/W", "", "读写")
    assert [text for text in access if is_written_only(text)] == ["W", "WO", "write only", "只写"]


def test_plain_numbers_count_from_the_base_that_is_given(tmp_path: Path) -> None:
    """The same list is read two ways, and without a base a note says which."""
    text = "Register;Name;Type\n1;a;U16\n5;b;U16\n"
    ran = imported(tmp_path, text)
    assert "addresses: are counted from 0; say --base 1 if the first register is 1" in ran.stderr
    assert {name: keys["address"] for name, keys in points(tmp_path).items()} == {"a": "holding 1", "b": "holding 5"}
    assert "addresses:" not in imported(tmp_path, text, "--base", "1", "--force").stderr
    assert {name: keys["address"] for name, keys in points(tmp_path).items()} == {"a": "holding 0", "b": "holding 4"}


def test_numbers_are_in_modicon_notation_if_all_of_them_are(tmp_path: Path) -> None:
    """40001 in a list with 12 is the entry 40001."""
    imported(tmp_path, "Register;Name\n40001;a\n30002;b\n")
    assert {name: keys["address"] for name, keys in points(tmp_path).items()} == {"a": "holding 0", "b": "input 1"}
    imported(tmp_path, "Register;Name\n40001;a\n12;b\n", "--force")
    assert {name: keys["address"] for name, keys in points(tmp_path).items()} == {
        "a": "holding 40001",
        "b": "holding 12",
    }
    imported(tmp_path, "Register;Name\n40001;a\n30002;b\n", "--force", "--base", "0", "--table", "input")
    assert {name: keys["address"] for name, keys in points(tmp_path).items()} == {
        "a": "input 40001",
        "b": "input 30002",
    }


def test_columns_are_named_by_the_person_who_imports(tmp_path: Path) -> None:
    """By their names, by their numbers, by the letters of a spreadsheet."""
    text = "x;y;z\n100;Speed;r/min\n101;Torque;N.m\n"
    assert imported(tmp_path, text).exit_code == 1
    ran = imported(tmp_path, text, "--column", "address=x", "--column", "name=2", "--column", "unit=C")
    assert "columns: address <- x, name <- y, unit <- z;" in ran.stderr
    assert points(tmp_path) == {
        "Speed": {"address": "holding 100", "unit": "r/min"}, "Torque": {"address": "holding 101", "unit": "N.m"}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("address", "write a field and its column, as in address=Register"),
        ("adress=x", "unknown field 'adress'; did you mean 'address'?"),
        ("address=q", "unknown column 'q'"),
        ("address=9", "unknown column '9'"),
    ],
)
def test_columns_that_do_not_exist_are_refused(tmp_path: Path, column: str, message: str) -> None:
    """With the columns that the list has."""
    ran = imported(tmp_path, "x;y\n100;Speed\n", "--column", column)
    assert (ran.exit_code, message in ran.stderr) == (1, True), ran.stderr


def test_columns_without_a_header_are_known_by_their_content(tmp_path: Path) -> None:
    """As a colleague sends them."""
    ran = imported(tmp_path, "40001;Speed;UINT16;rpm;R\n40002;Torque;INT16;Nm;R\n")
    assert (
        "address <- column 1, name <- column 2, unit <- column 4, type <- column 3, access <- column 5" in ran.stderr
    )
    assert points(tmp_path) == {
        "Speed": {"address": "holding 0", "unit": "r/min"},
        "Torque": {"address": "holding 1", "raw": "int16", "unit": "N.m"},
    }


def test_a_length_may_be_in_bytes(tmp_path: Path) -> None:
    """If it is twice the registers of every type."""
    imported(tmp_path, "Register;Name;Type;Length\n0;a;U16;2\n1;b;U32;4\n3;c;STRING;20\n13;d;INT;4\n")
    assert {name: (keys.get("raw"), keys.get("length")) for name, keys in points(tmp_path).items()} == {
        "a": (None, None), "b": ("uint32", None), "c": ("string", 10), "d": ("int32", None)
    }  # fmt: skip


def test_values_are_divided_multiplied_and_shifted_as_the_columns_say(tmp_path: Path) -> None:
    """A factor above 1 is doubtful, so a note says it."""
    ran = imported(
        tmp_path,
        "Register;Name;Scale;Gain;Decimals;Bias\n0;a;10;;;\n1;b;;10;;\n2;c;;;2;\n3;d;0.5;;;-40\n4;e;SF;;;\n",
    )
    assert "scale: values are multiplied by 10; say --column 'divisor=Scale' to divide" in ran.stderr
    assert "list.csv:6: e: is not scaled: 'SF' is not a factor" in ran.stderr
    assert {name: (keys.get("scale"), keys.get("offset")) for name, keys in points(tmp_path).items()} == {
        "a": (10, None), "b": (0.1, None), "c": (0.01, None), "d": (0.5, -40), "e": (None, None)
    }  # fmt: skip


def test_bits_ranges_labels_orders_and_periods_are_read(tmp_path: Path) -> None:
    """Each from a column of its own."""
    imported(
        tmp_path,
        "Register;Name;Type;Bit;Min;Max;Byte order;States;Period\n"
        "0;a;U16;3;;;;;\n"
        "0;b;U16;4-7;;;;0: idle, 1: run;\n"
        "1;c;S16;;-10;50;;;500ms\n"
        "2;d;FLOAT;;;;low word first;;2000\n"
        "4;e;U32;;;;Big endian;;1s\n",
        "--order", "DCBA",
    )  # fmt: skip
    assert points(tmp_path) == {
        "a": {"address": "holding 0", "bit": 3},
        "b": {"address": "holding 0", "bits": [4, 7], "labels": {0: "idle", 1: "run"}},
        "c": {"address": "holding 1", "raw": "int16", "range": [-10, 50], "every": "500ms"},
        "d": {"address": "holding 2", "raw": "float32", "order": "CDAB", "every": "2s"},
        "e": {"address": "holding 4", "raw": "uint32"},
    }


def test_a_list_without_a_device_needs_the_connection(tmp_path: Path) -> None:
    """It would be a machine at no address."""
    (tmp_path / "list.csv").write_text("Register;Name\n0;a\n", encoding="utf-8")
    ran = CliRunner().invoke(main, ["import", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out")])
    assert (ran.exit_code, "a list of registers names no device; say --connection" in ran.stderr) == (1, True)


@pytest.mark.parametrize(
    ("encoding", "noted"),
    [("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("utf-16-le", False), ("utf-16-be", False),
     ("cp1252", True)],
)  # fmt: skip
def test_text_is_read_in_the_encodings_of_spreadsheets(tmp_path: Path, encoding: str, noted: bool) -> None:  # noqa: FBT001
    """A note names an encoding that is a guess."""
    ran = imported(tmp_path, "Register;Name;Einheit\n0;Temp;°C\n1;Höhe;mm\n", encoding=encoding)
    assert (ran.exit_code, "say --encoding for another" in ran.stderr) == (0, noted), ran.stderr
    assert points(tmp_path)["Temp"]["unit"] == "Cel"
    assert "Hoehe" in points(tmp_path)


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("Register;Name\n0;Größe\n", "cp1252", "Groesse"),
        ("Register;Name\n0;Fußböden\n", "cp1252", "Fussboeden"),
        ("地址;名称\n0;温度\n", "gb2312", "holding_0"),
    ],
)
def test_german_and_chinese_are_known_by_their_bytes(tmp_path: Path, text: str, encoding: str, name: str) -> None:
    """Two letters of German in a row could be a character of Chinese, but a rare character."""
    assert imported(tmp_path, text, encoding=encoding).exit_code == 0
    assert list(points(tmp_path)) == [name]


def test_an_encoding_can_be_given(tmp_path: Path) -> None:
    """For bytes that could be of two."""
    text = "地址;名称;单位\n0;Temp;℃\n"
    assert imported(tmp_path, text, "--encoding", "gb18030", encoding="gb18030").exit_code == 0
    ran = imported(tmp_path, text, "--encoding", "ascii", "--force", encoding="gb18030")
    assert (ran.exit_code, "line 1: the bytes are not ascii; say --encoding" in ran.stderr) == (1, True)
