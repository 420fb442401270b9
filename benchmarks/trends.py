"""Measure the page's trends over HTTP: 50 points of a month at 1 s, unless stated otherwise.

The file is that of `query.py --keep`. Each request is measured with the file out of the cache of the operating system,
and again; with its size, and the time of the store's thread is part of it.

    python benchmarks/query.py --days 30 --file readings.db --keep
    python benchmarks/trends.py --file readings.db [--width 1000]
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from urllib.request import urlopen

import orjson
import uvicorn
import yaml
from query import PATH, forget
from starlette.applications import Starlette

from gateway.dashboard.trends.routes import Trends
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from gateway.settings.factory import Factory

SPANS = {
    "30 days": 30 * 86_400,
    "a week": 7 * 86_400,
    "a day": 86_400,
    "8 h": 8 * 3_600,
    "1 h": 3_600,
    "15 min": 900,
    "1 min": 60,
}


def factory_of(folder: Path, file: Path, points: int) -> Factory:
    """Write a factory whose store is the file."""
    (folder / "machines").mkdir()
    described = {
        f"p-{n:03d}": {"address": f"holding {2 * n}", "raw": "float32", "unit": "bar"} for n in range(points)
    }
    (folder / "machines" / "bench.yaml").write_text(
        yaml.safe_dump({"format": 1, "protocol": "modbus", "points": described})
    )
    machine = {"template": "bench", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    content = {
        "format": 1, "factory": {"enterprise": PATH.enterprise, "site": PATH.site},
        "gateway": {"id": "bench", "spool": {"folder": str(folder / "spool")}}, "broker": {"url": "mqtt://127.0.0.1:1"},
        "stores": [{"sqlite": {"path": str(file.absolute()), "keep": "3650d", "max_size": "500GiB"}}],
        "lines": {PATH.line: {"area": PATH.area, "machines": {PATH.machine: machine}}},
    }  # fmt: skip
    (folder / "factory.yaml").write_text(yaml.safe_dump(content))
    return load_factory(folder / "factory.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--width", type=int, default=1000)
    options = parser.parse_args()
    db = sqlite3.connect(options.file)
    [until] = db.execute("select max(time) + 1 from samples").fetchone()
    db.close()
    with tempfile.TemporaryDirectory(prefix="lineside-trends-") as folder:
        trends = Trends([factory_of(Path(folder), options.file, options.points)])
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=trends.routes()), port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        points = [f"{PATH}/p-{n:03d}" for n in range(options.points)]
        print(f"{'span':<10} {'points':>6} {'cold':>9} {'again':>9} {'processor':>9} {'size':>9}  kind")
        for name, seconds in SPANS.items():
            for chosen in (points, points[:1]):
                measure(options, f"{url}/api/trend", name, chosen, (until - seconds * 1_000_000, until))
        server.should_exit = True
        thread.join()


def measure(options: argparse.Namespace, url: str, name: str, points: list[str], span: tuple[int, int]) -> None:
    """Print the time of a request, cold and the best of three, its size, and the kind of its data."""
    query = urlencode({"point": points, "from": span[0], "to": span[1], "width": options.width}, doseq=True)
    forget(options.file)
    took, used = [], []
    for _ in range(4):
        began, worked = time.perf_counter(), time.process_time()
        with urlopen(f"{url}?{query}") as answer:
            body = answer.read()
        took.append(time.perf_counter() - began)
        used.append(time.process_time() - worked)
    series = orjson.loads(body)["series"]
    assert len(series) == len(points)
    kinds = (
        f"{series[0]['kind']} of {series[0].get('width', 0) / 1e6:g} s"
        if series[0]["kind"] == "buckets"
        else "readings"
    )
    print(
        f"{name:<10} {len(points):>6} {took[0]:7.3f} s {min(took[1:]):7.3f} s {min(used[1:]):7.3f} s {len(body) / 1e6:6.2f} MB  {kinds}"
    )


if __name__ == "__main__":
    main()
