"""The socket of a service: only its user asks, only the service answers, and a stale socket stops nobody."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from gateway.common.control_socket import (
    LONGEST_REQUEST,
    ControlSocket,
    NotListening,
    NotTheService,
    Peer,
    ask,
    socket_file,
)
from gateway.common.tasks import cancel_and_wait
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECONDS = 10.0


async def echo(request: dict[str, Any], peer: Peer) -> dict[str, Any]:
    """Answer with the request and who asks."""
    return {"request": request, "pid": peer.pid, "user": peer.user}


@asynccontextmanager
async def listening(file: Path) -> AsyncIterator[None]:
    """Run a socket that answers with `echo`."""
    task = asyncio.create_task(ControlSocket(file, echo).run())
    try:
        await until(lambda: task.done() or _answers(file), "the socket listens", SECONDS)
        yield
    finally:
        await cancel_and_wait(task)


def _answers(file: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(os.path.relpath(file))
        return True
    return False


async def asked(file: Path, request: dict[str, Any]) -> dict[str, Any]:
    return await asyncio.to_thread(ask, file, request, SECONDS)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a path of a socket has 107 bytes at the most


async def test_the_answer_names_who_has_asked(tmp_path: Path) -> None:
    """The kernel does: the audit log can rely on it."""
    file = socket_file(tmp_path, "edge-01")
    async with listening(file):
        answer = await asked(file, {"command": "reload"})
        assert (answer["request"], answer["pid"]) == ({"command": "reload"}, os.getpid())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists(), "a service that stops leaves none"


async def test_the_socket_is_private_whatever_the_umask_which_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The umask is that of all threads: a folder that one of them makes meanwhile could not be entered."""
    file = socket_file(tmp_path, "edge-01")
    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "umask", lambda _mask: pytest.fail("the umask was changed"))
        async with listening(file):
            await asked(file, {})
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finally:
        monkeypatch.undo()
        os.umask(before)


async def test_a_stale_socket_a_link_or_a_file_in_its_place_is_replaced(tmp_path: Path) -> None:
    """A killed service leaves its socket; and nothing is bound through a link."""
    file = socket_file(tmp_path, "edge-01")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(file.name)
    with pytest.raises(NotListening):
        await asked(file, {})
    for plant in (file.touch, partial(file.symlink_to, tmp_path / "elsewhere")):
        file.unlink()
        plant()
        async with listening(file):
            assert (await asked(file, {}))["request"] == {}
        file.touch()
    assert not (tmp_path / "elsewhere").exists()


async def test_a_long_folder_and_a_long_name_have_a_socket(tmp_path: Path) -> None:
    """The limit of 107 bytes is far below that of a path."""
    folder = tmp_path
    for _ in range(3):
        folder /= "x" * 100
    folder.mkdir(parents=True)
    os.chdir(folder)
    names = ["g" * 128, "g" * 127 + "h"]
    files = [socket_file(folder, name) for name in names]
    assert len(set(files)) == 2
    async with listening(files[0]), listening(files[1]):
        assert (await asked(files[0], {}))["request"] == {}


async def test_what_is_not_the_service_is_said(tmp_path: Path) -> None:
    """Nothing is done then: an answer of somebody else would be a lie, and a signal would hit another process."""
    file = socket_file(tmp_path, "edge-01")
    with pytest.raises(NotListening, match="does not exist"):
        await asked(file, {})
    file.touch()
    with pytest.raises(NotTheService, match="is not a socket"):
        await asked(file, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a socket of another user")
async def test_a_socket_of_another_user_is_refused(tmp_path: Path) -> None:
    """A user who can make names in the folder could answer in place of the gateway."""
    file = socket_file(tmp_path, "edge-01")
    async with listening(file):
        os.chown(file, 65534, 65534)
        with pytest.raises(NotTheService, match="belongs to user id 65534"):
            await asked(file, {})


async def test_a_service_that_stops_waits_for_no_client(tmp_path: Path) -> None:
    """A reload can take long, and a stop has some seconds; the client sees the end of the connection."""
    asked_for = asyncio.Event()

    async def never(request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        del request, peer
        asked_for.set()
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    file = socket_file(tmp_path, "edge-01")
    task = asyncio.create_task(ControlSocket(file, never).run())
    await until(lambda: _answers(file), "the socket listens", SECONDS)
    client = asyncio.create_task(asked(file, {}))
    await asked_for.wait()
    await asyncio.wait_for(cancel_and_wait(task), SECONDS)
    with pytest.raises(NotListening, match="has ended the connection"):
        await client


async def test_a_client_that_sends_nonsense_disturbs_nobody(tmp_path: Path) -> None:
    """It is answered with the end of its connection."""
    file = socket_file(tmp_path, "edge-01")
    async with listening(file):
        for sent in (b"\xff\n", b"[]\n", b"{" * (LONGEST_REQUEST + 10) + b"\n", b""):
            reader, writer = await asyncio.open_unix_connection(file.name)
            with suppress(ConnectionError):
                writer.write(sent)
                writer.write_eof()
                assert await reader.read() == b""
            writer.close()
        assert (await asked(file, {"a": 1}))["request"] == {"a": 1}
