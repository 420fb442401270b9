"""The way of a part, and the parts that a lot went into, out of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from part_bench import PATH

from gateway.stores.part_history import Find, Material, history, where_used
from gateway.stores.tables import PARTS, TableRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gateway.stores.tables import Cell


def finder(*records: dict[str, Any]) -> Find:
    """Return a look-up in records; the time of each is its position, if it has none."""
    rows = [
        TableRow(table, PATH._replace(machine=record.get("machine", "m")), "part", record.get("time", at), cells)
        for at, record in enumerate(records, 1)
        for table, cells in PARTS.all_cells(orjson.dumps(record).decode())
    ]
    tables = {"": "parts", "values": "part_values", "materials": "part_materials"}

    def find(
        content: str, column: str, values: Collection[Cell], entries: str = "", pattern: str = "*"
    ) -> Iterator[TableRow]:
        assert (content, pattern) == ("part", "*/part*")
        for row in rows:
            cell = row.time if column == "time" else row.as_dict().get(column)
            if row.table.name == tables[entries] and cell in values:
                yield row

    return find


def part(serial: str, operation: str = "building", **more: Any) -> dict[str, Any]:
    materials = [{"name": "m", "lot": lot} for lot in more.pop("of", ())]
    return {"serial": serial, "operation": operation, "place": "", "values": [], "materials": materials} | more


def test_operations_are_in_the_order_of_their_times_and_runs_are_numbered() -> None:
    """Over all machines, also where an end or a begin is missing."""
    find = finder(
        part("A", "test", began=50, ended=60, machine="m-2", result="ok"), part("A", began=10, ended=20),
        part("A", "test", began=None, ended=30, machine="m-1", result="bad"), part("B", began=5),
        part("A", "packing", time=99), part("A", "test", began=70, machine="m-1"),
    )  # fmt: skip
    found = [(one.operation, one.run, one.path.machine, one.result) for one in history(find, "A")]
    assert found == [
        ("building", 1, "m", None), ("test", 1, "m-1", "bad"), ("test", 2, "m-2", "ok"), ("test", 3, "m-1", None),
        ("packing", 1, "m", None),
    ]  # fmt: skip
    assert history(find, "C") == []


def test_an_operation_has_its_own_values_and_materials() -> None:
    """Records of two machines may have the same time."""
    values = [{"name": "p", "value": 1.5, "unit": "bar"}, {"name": "q", "quality": "bad", "reason": "no_response"}]
    find = finder(
        part("A", time=7, machine="m-1", values=values, of=["L"], curves=["p", "q"], recipe="r"),
        part("A", time=7, machine="m-2", values=values[:1]),
    )
    first, second = history(find, "A")
    assert [(one.name, one.value, one.unit, one.reason) for one in first.values] == [
        ("p", 1.5, "bar", None), ("q", None, None, "no_response"),
    ]  # fmt: skip
    assert (first.materials, first.curves, first.recipe) == ((Material("m", "L"),), ("p", "q"), "r")
    assert (len(second.values), second.materials, second.curves) == (1, (), ())


def test_a_carton_has_the_history_of_its_parts() -> None:
    """Its label is the lot of the parts that were packed."""
    find = finder(
        part("A", began=1), part("A", "packing", lot="C1", began=3), part("B", "packing", lot="C1", began=2)
    )
    assert [(one.serial, one.operation) for one in history(find, "C1")] == [
        ("A", "building"), ("A", "packing"), ("B", "packing"),
    ]  # fmt: skip


def test_a_lot_is_followed_through_several_levels() -> None:
    """Green tyre from tread, from compound, from a batch; a batch is followed by its own serial number, too."""
    find = finder(
        part("B1", "mixing", lot="ML1"), part("B2", "mixing", lot="ML2"), part("TR1", "extrusion", of=["ML1"]),
        part("TR2", "extrusion", of=["ML2", "ML1"]), part("GT1", of=["TR1", "BD9"]), part("GT2", of=["TR2"]),
        part("GT3", of=["TR3"]), part("GT1", "curing"), part("C1", "packing", of=["GT1"]),
    )  # fmt: skip
    uses = where_used(find, "ML1")
    assert [(one.level, one.serial, one.lot) for one in uses.found] == [
        (1, "TR1", "ML1"), (1, "TR2", "ML1"), (2, "GT1", "TR1"), (2, "GT2", "TR2"), (3, "C1", "GT1"),
    ]  # fmt: skip
    assert not uses.cut
    assert [one.serial for one in where_used(find, "B2").found] == ["TR2", "GT2"]
    assert where_used(find, "nothing").found == []
    shallow = where_used(find, "ML1", levels=1)
    assert ([one.serial for one in shallow.found], shallow.cut) == (["TR1", "TR2"], True)


def test_cycles_end() -> None:
    """Rubber that returns to the mixer is in lots that are in it."""
    find = finder(
        part("B1", lot="L1", of=["L2"]), part("B2", lot="L2", of=["L1"]), part("B3", lot="L1", of=["B3", "L1"])
    )
    uses = where_used(find, "L1")
    assert {(one.serial, one.lot) for one in uses.found} == {("B2", "L1"), ("B3", "L1"), ("B1", "L2"), ("B3", "B3")}
    assert not uses.cut


def test_many_parts_are_cut() -> None:
    """The answer is bounded, and says so."""
    uses = where_used(finder(*(part(f"P{n}", of=["L"]) for n in range(20))), "L", most=15)
    assert (len(uses.found), uses.cut) == (15, True)
