"""Names, node addresses and companion specifications of the variables that a browse finds."""

from __future__ import annotations

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from drivers.opcua.browse.companion_names import IMM2MES, MACHINERY, NAMES, PACKML, PLASTICS, TITLES, Qualified, known
from drivers.opcua.browse.nodes import OBJECTS, BrowsedNode
from drivers.opcua.browse.point_names import Addresses, own_namespace, snake, unique
from drivers.opcua.node_address import BrowsePath, Step, parse_node
from gateway.common.setting_types import check_name

DI = "http://opcfoundation.org/UA/DI/"
URIS = ["http://opcfoundation.org/UA/", "urn:server", "urn:press", "urn:od;d"]


def tree(*nodes: tuple[str, ua.NodeId]) -> list[BrowsedNode]:
    """Return nodes below the Objects folder, each given by its path (names in namespace 2) and its id."""
    made = {"": BrowsedNode(OBJECTS, ua.QualifiedName("Objects"))}
    for path, node in nodes:
        above, _, name = path.rpartition("/")
        made[path] = BrowsedNode(node, ua.QualifiedName(name, ua.UInt16(2)), made[above])
    return list(made.values())[1:]


def text(name: str, namespace: int = 2) -> ua.NodeId:
    return ua.NodeId(ua.String(name), ua.Int16(namespace))


def number(name: int, namespace: int = 2) -> ua.NodeId:
    return ua.NodeId(ua.Int32(name), ua.Int16(namespace))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("JobGoodPartsCounter", "job_good_parts_counter"),
        ("Drum.Speed", "drum_speed"),
        ("MESUrl", "mes_url"),
        ('"DB 1"."Temp_2"', "db_1_temp_2"),
        ("Öffnungsweiße Größe", "offnungsweisse_grosse"),
        ("already_snake", "already_snake"),
        ("轮胎", ""),
    ],
)
def test_a_name_is_written_as_points_are(theirs: str, ours: str) -> None:
    assert snake(theirs) == ours


def test_names_have_as_many_words_as_make_them_different() -> None:
    """A machine has two zones; a name that occurs once stays short."""
    wanted = [
        (None, ["press", "zone_1", "temperature"], None),
        (None, ["press", "zone_2", "temperature"], None),
        (None, ["press", "force"], None),
    ]
    assert unique(wanted) == ["zone_1_temperature", "zone_2_temperature", "force"]


def test_a_known_name_stays_with_its_node() -> None:
    """Consumers look for `state`: a node that only has that browse name gets a longer name."""
    wanted = [("state", ["press", "state_current"], None), (None, ["valve", "state"], None)]
    assert unique(wanted) == ["state", "valve_state"]


def test_nodes_without_different_names_are_numbered() -> None:
    """This includes names without a letter."""
    assert unique([(None, [""], None), (None, ["x", ""], None), (None, [], None)]) == ["point", "x", "point_2"]


def test_elements_of_an_array_are_names_too() -> None:
    assert unique([(None, ["zone"], 2), (None, ["zone_1"], None)]) == ["zone", "zone_1_2"]


_words = st.lists(st.sampled_from(["", "a", "b", "a_0", "a_1"]), max_size=3)


@given(
    st.lists(
        st.tuples(st.none() | st.just("state"), _words, st.none() | st.integers(1, 3)),
        max_size=12,
    )
)
def test_all_names_are_names_and_different(wanted: list[tuple[str | None, list[str], int | None]]) -> None:
    """Otherwise the template could not be loaded, or would have one point in place of two."""
    names = unique(wanted)
    points = [
        point
        for name, (_, _, count) in zip(names, wanted, strict=True)
        for point in ([name] if count is None else [f"{name}_{i}" for i in range(count)])
    ]
    assert len(set(points)) == len(points)
    assert [check_name(point) for point in points] == points


def test_nodes_are_written_by_their_permanent_address() -> None:
    """A person chose a text identifier; many servers assign numbers again at each start."""
    nodes = tree(("Press", text("Press")), ("Press/Drum", text("Drum.Speed")), ("Press/Force", number(17)))
    addresses = Addresses(nodes, URIS, "urn:press", by_path=None)
    assert [str(addresses.of(one)) for one in nodes] == ["s=Press", "s=Drum.Speed", "/Press/Force"]


@pytest.mark.parametrize(
    ("by_path", "own", "written"),
    [
        (False, "urn:press", "i=17"),
        (False, None, "nsu=urn:press;i=17"),
        (True, None, "/{urn:press}Press/{urn:press}Force"),
    ],
)
def test_somebody_else_can_decide_how(*, by_path: bool, own: str | None, written: str) -> None:
    *_, node = nodes = tree(("Press", text("Press")), ("Press/Force", number(17)))
    assert str(Addresses(nodes, URIS, own, by_path=by_path).of(node)) == written


def test_a_path_that_leads_to_two_nodes_is_not_written() -> None:
    """The server would answer with either."""
    nodes = tree(("Press", text("Press")), ("Press/Force", number(17)))
    twin = BrowsedNode(number(18), nodes[1].name, nodes[1].above)
    addresses = Addresses([*nodes, twin], URIS, "urn:press", by_path=True)
    assert [str(addresses.of(one)) for one in (nodes[1], twin)] == ["i=17", "i=18"]


@pytest.mark.parametrize(
    "node",
    [number(5, 3), text("a;b=c", 3), text("x", 0), ua.NodeId(b"\x01\x02", ua.Int16(2))],
    ids=["uri", "text", "standard", "opaque"],
)
def test_a_written_node_is_read_as_the_same_node(node: ua.NodeId) -> None:
    """This includes namespaces with reserved characters."""
    [found] = tree(("Press", node))
    written = Addresses([found], URIS, "urn:press", by_path=False).of(found)
    assert written is not None
    assert parse_node(str(written)) == written


def test_a_path_may_go_through_namespaces_with_slashes() -> None:
    """The namespaces of all companion specifications contain slashes."""
    path = parse_node(f"/{{{IMM2MES}}}Jobs/{{{PLASTICS}}}Active&/Job/Name")
    assert path == BrowsePath((Step(IMM2MES, "Jobs"), Step(PLASTICS, "Active/Job"), Step(None, "Name")))


def test_a_node_that_can_not_be_written_is_not() -> None:
    """Neither by an id with a line break nor by a path with an empty name."""
    found = BrowsedNode(text("a\nb"), ua.QualifiedName(""), BrowsedNode(OBJECTS, ua.QualifiedName("Objects")))
    assert Addresses([found], URIS, "urn:press", by_path=None).of(found) is None


def test_the_own_namespace_is_that_of_most_nodes() -> None:
    """Never that of the standard."""
    nodes = tree(
        ("A", text("a")), ("B", text("b")), ("C", number(1, 1)), *((f"S{i}", number(i, 0)) for i in range(5))
    )
    assert own_namespace(nodes, URIS) == "urn:press"
    assert own_namespace(nodes[-5:], URIS) is None


@pytest.mark.parametrize(
    ("name", "above", "types", "ours"),
    [
        (Qualified(PLASTICS, "JobGoodPartsCounter"), Qualified(PLASTICS, "ActiveJobValues"), (), "good_count"),
        (Qualified(PLASTICS, "LastCycleTime"), Qualified(PLASTICS, "ActiveJobValues"), (), "cycle_time_last"),
        (Qualified(IMM2MES, "CushionVolume"), Qualified("urn:x", "Unit"), (), "cushion_volume"),
        (Qualified("urn:x", "JobName"), Qualified("urn:x", "Jobs.ActiveJob"), (Qualified(IMM2MES, "T"),), "order"),
        (Qualified(PACKML, "CurMachSpeed"), Qualified(PACKML, "Status"), (), "speed"),
        (
            Qualified("", "CurrentState"),
            Qualified(MACHINERY, "MachineryItemState"),
            (Qualified(MACHINERY, "MachineryItemState_StateMachineType"), Qualified("", "FiniteStateMachineType")),
            "state",
        ),
        (
            Qualified(DI, "SerialNumber"),
            Qualified("urn:x", "Identification"),
            (Qualified("urn:x", "OurIdType"), Qualified(MACHINERY, "MachineIdentificationType")),
            "machine_serial_number",
        ),
    ],
)
def test_companion_specifications_are_understood(
    name: Qualified, above: Qualified, types: tuple[Qualified, ...], ours: str
) -> None:
    """The namespace of the name or of a type above decides, even with a vendor's own type between them."""
    found = known(name, [(above, types)])
    assert found is not None
    assert found.name == ours


@pytest.mark.parametrize("name", [Qualified("urn:x", "JobName"), Qualified("", "CurrentState")])
def test_names_outside_of_a_companion_specification_have_no_meaning(name: Qualified) -> None:
    """The same name in another namespace has another meaning."""
    assert known(name, [(Qualified("urn:x", "Above"), ())]) is None


def test_every_name_of_ours_can_be_a_points() -> None:
    assert set(NAMES) == set(TITLES)
    for table in NAMES.values():
        for ours in table.values():
            assert check_name(ours.name) == ours.name
    assert NAMES[PACKML]["StateCurrent"].labels[6] == "execute"
