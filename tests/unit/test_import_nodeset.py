"""A nodeset becomes points that a server with this nodeset has, at their addresses and with their types."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from asyncua import Server, ua
from processes import free_port

from gateway.check.devices import Patience
from gateway.check.machines import check_machines
from gateway.importers import nodeset
from gateway.importers.build import files_of
from gateway.importers.content import Content
from gateway.importers.found import Options
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PRESS = Path(__file__).parents[1] / "cases" / "import" / "nodeset" / "press.xml"
HEAD = {"factory": {"enterprise": "e", "site": "s"}, "gateway": {"id": "g"}, "broker": {"url": "mqtt://h"}}


@asynccontextmanager
async def served(nodes: Path) -> AsyncIterator[str]:
    """Serve a nodeset, behind a namespace that its file does not have; its values are set."""
    server = Server()
    await server.init()
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:other")
    await server.register_namespace("http://opcfoundation.org/UA/DI/")
    await server.import_xml(str(nodes))
    index = await server.get_namespace_index("urn:acme:press")
    values = {
        6001: ua.Variant(171.5, ua.VariantType.Double), "Press.Phase": ua.Variant(1, ua.VariantType.Int32),
        "Press.Zones": ua.Variant([1.5, 2.5, 3.5], ua.VariantType.Double),
        "Press.Curve": ua.Variant([0.25, 0.5], ua.VariantType.Double),
        "Press.Heating": ua.Variant(1500.0, ua.VariantType.Double),
        7001: ua.Variant("P-17", ua.VariantType.String),
        "Press.Door": ua.Variant(True, ua.VariantType.Boolean),  # noqa: FBT003 - a value
    }  # fmt: skip
    for identifier, value in values.items():
        await server.write_attribute_value(ua.NodeId(identifier, index), ua.DataValue(value))
    async with server:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize("how", ["auto", "id", "path"])
async def test_each_variable_of_a_nodeset_is_read_from_a_server_that_has_it(how: str, tmp_path: Path) -> None:
    """By node ids and by browse paths; namespaces have other indexes on the server."""
    async with served(PRESS) as url:
        options = Options(connection=f"{url}?security=none", nodes=how)
        found = nodeset.FORMAT.read(Content(PRESS.name, PRESS.read_bytes()), options)
        for name, text in files_of(found, HEAD).items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        machines = load_factory(tmp_path / "factory.yaml").machines
        report = await check_machines("factory.yaml", machines, Patience(10.0, 0.0, 1), lambda *_: None)
    [machine] = report.machines
    values = {point.name: point.value for point in machine.points}
    del values["recipe"], values["any"]  # variables without a type, of which this server has no value
    assert values == {
        "force": 171.5, "phase": 1, "zones_0": 1.5, "zones_1": 2.5, "zones_2": 3.5, "curve": "[0.25,0.5]",
        "heating": 1.5, "serial_number": "P-17", "door": True,
    }  # fmt: skip
