"""Where a point lives, as register lists have it: counted from 0 or 1, in Modicon notation, in hexadecimal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import LAST, Address, Table, parse_address, table_of


@pytest.mark.parametrize(
    ("written", "table", "offset"),
    [
        ("holding 10", "holding", 10),
        ("  input   0 ", "input", 0),
        ("coil 65535", "coil", 65535),
        ("discrete 007", "discrete", 7),
        ("holding 0x1F", "holding", 31),
        ("holding 0XfF", "holding", 255),
        ("40001", "holding", 0),
        ("40011", "holding", 10),
        ("49999", "holding", 9998),
        (40011, "holding", 10),  # YAML without quotes
        ("400001", "holding", 0),
        (400011, "holding", 10),
        ("465536", "holding", 65535),
        (30001, "input", 0),
        (365536, "input", 65535),
        (10001, "discrete", 0),
        (100011, "discrete", 10),
        ("00001", "coil", 0),
        ("00011", "coil", 10),
        ("000011", "coil", 10),
        ("065536", "coil", 65535),
    ],
)
def test_addresses_are_understood_as_they_are_written(written: object, table: str, offset: int) -> None:
    """Modicon notation counts from 1, the wire from 0."""
    assert parse_address(written) == Address(Table(table), offset)


@pytest.mark.parametrize("written", ["40011", 400011, "00011"])
def test_modicon_notation_counts_from_1_whatever_the_base(written: object) -> None:
    """The notation defines it; only 'holding 10' leaves the base open."""
    assert parse_address(written, 1) == parse_address(written, 0)


def test_a_base_of_1_counts_from_1() -> None:
    """Many lists call the first holding register 1."""
    assert parse_address("holding 10", 1) == Address(Table.HOLDING, 9)
    assert parse_address("holding 65536", 1) == Address(Table.HOLDING, 65535)
    assert parse_address("holding 0x10", 1) == Address(Table.HOLDING, 15)


@pytest.mark.parametrize(
    ("written", "base", "message"),
    [
        ("holdng 3", 0, "is not a Modbus address; write a table and an entry counted from 0"),
        ("holding -1", 0, "is not a Modbus address"),
        ("holding", 0, "is not a Modbus address"),
        ("", 0, "is not a Modbus address"),
        (-40011, 0, "is not a Modbus address"),
        ("4x0011", 0, "is not a Modbus address"),
        ("0x9C4B", 0, "0x9C4B names no table; write it as in 'holding 0x9C4B'"),
        (11, 0, "11 names no table; write it as in 'holding 11'"),
        (11, 0, "a coil in quotes, as in '00011'"),
        ("0011", 0, "0011 names no table"),
        (4000011, 0, "4000011 names no table"),
        (20011, 0, "20011 is not Modicon notation: it begins with 0 for a coil"),
        (40000, 0, "counts from 1: the first of table holding is 40001, not 40000"),
        ("000000", 0, "counts from 1: the first of table coil is 000001, not 000000"),
        (465537, 0, "465537 is beyond the last of its table, 465536"),
        ("holding 65536", 0, "entry 65536 is beyond the last of a table, 65535"),
        ("holding 65537", 1, "entry 65537 is beyond the last of a table, 65536"),
        ("holding 0", 1, "entries are counted from 1, so there is no holding 0"),
        (40011.3, 0, "for one bit of a register write bit: 3 beside it"),
        ("holding 7.12", 0, "for one bit of a register write bit: 12 beside it"),
        ("40011.16", 0, "is not a Modbus address"),
    ],
)
def test_a_wrong_address_is_refused_with_an_example(written: object, base: int, message: str) -> None:
    """The engineer has the register list before them: say how to write it down."""
    with pytest.raises(ValueError, match=r"Modbus|table|Modicon|base") as caught:
        parse_address(written, base)
    assert message in str(caught.value)


def test_a_value_other_than_text_or_a_number_is_left_to_the_type_check() -> None:
    """An `Address` passes unchanged, and the check of types reports other values."""
    address = Address(Table.COIL, 3)
    assert parse_address(address) is address
    assert parse_address(written := True) is written
    assert parse_address(None) is None


@given(st.sampled_from(Table), st.integers(0, LAST))
def test_every_entry_can_be_written_in_each_way(table: Table, offset: int) -> None:
    """The three notations name the same entry."""
    address = Address(table, offset)
    digit = {Table.COIL: 0, Table.DISCRETE: 1, Table.INPUT: 3, Table.HOLDING: 4}[table]
    assert parse_address(str(address)) == address
    assert parse_address(f"{table} {offset:#x}") == address
    assert parse_address(f"{table} {offset + 1}", 1) == address
    assert parse_address(f"{digit}{offset + 1:05d}") == address
    if offset < 9999:
        assert parse_address(f"{digit}{offset + 1:04d}") == address


@given(st.text(max_size=12) | st.integers() | st.floats(allow_nan=False))
def test_anything_else_is_an_error_that_says_so(written: object) -> None:
    """For any text in a file the result is an address or an error."""
    try:
        found = parse_address(written)
    except ValueError:
        assert table_of(written) in {None, *Table}
    else:
        assert isinstance(found, Address)
        assert table_of(written) is found.table


@pytest.mark.parametrize(
    ("written", "table"),
    [("coil 3", "coil"), ("00011", "coil"), (10011, "discrete"), ("coil x", "coil"), ("x", None), (None, None)],
)
def test_the_table_of_an_address_is_known_if_possible(written: object, table: str | None) -> None:
    """A consequence of a wrong address is not reported as a second mistake."""
    assert table_of(written) == table
