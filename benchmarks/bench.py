"""Measure the numbers that Lineside promises, beside other products: one table, and the same as JSON.

    python benchmarks/bench.py [ROW...] [--runs 3] [--seconds 10] [--peers telegraf thingsboard] [--json FILE] [--record]

Own and peers run in turn, `--runs` times, each for `--warm-up` and `--seconds` seconds; figures are medians.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from measure.alternate import measure
from measure.experiments import Duration
from measure.lineside import ROOT, Lineside
from measure.modbus_machines import DESCRIPTION as MODBUS
from measure.opcua_machines import DESCRIPTION as OPCUA
from measure.peers import PEERS
from measure.plant import OpcUaPlant
from measure.processes import end_on_sigterm, raise_file_limit
from measure.results import as_json, conditions, record, results_table
from measure.rows import chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure, all without any")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=6.0, help="seconds after the first values")
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], default=[*PEERS])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--record", action="store_true", help="keep the results in benchmarks/history")
    options = parser.parse_args()
    try:
        rows = chosen(options.rows)
    except ValueError as error:
        parser.error(str(error))
    raise_file_limit()
    end_on_sigterm()
    where = conditions(ROOT, options.runs, options.seconds)
    own, peers = Lineside(), {name: PEERS[name]() for name in options.peers}
    results = measure(
        rows,
        lambda row: [own, *(peers[name] for name in row.peers if name in peers)],
        options.runs,
        Duration(options.warm_up, options.seconds),
    )
    protocols = {isinstance(getattr(row.experiment, "plant", None), OpcUaPlant) for row in rows}
    where["simulator"] = " and ".join(text for kind, text in ((False, MODBUS), (True, OPCUA)) if kind in protocols)
    print(results_table(results, [peer.name for peer in peers.values()]))
    print(
        f"\n{where['commit']}, {where['date']}, Python {where['python']}, {where['machine']['cores']} cores of "
        f"{where['machine']['processor']}, load {where['machine']['load']} before; "
        f"median of {options.runs}, {options.seconds:g} s each.\nMachines: {where['simulator']}."
    )
    document = as_json(results, where)
    if options.json:
        options.json.write_bytes(document)
    if options.record:
        record(document)
    sys.exit(0 if all(one.figure("Lineside") is not None for one in results) else 1)


if __name__ == "__main__":
    main()
