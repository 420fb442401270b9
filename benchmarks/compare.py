"""Measure the same rows for another revision and for the present checkout, in turn, and print the ratio.

    python benchmarks/compare.py REV [ROW...] [--runs 3] [--seconds 10] [--json FILE]

The revision is checked out into a temporary git worktree. Both run with the present Python and its packages.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from measure.alternate import measure
from measure.experiments import Duration
from measure.lineside import ROOT, Lineside
from measure.processes import end_on_sigterm, raise_file_limit
from measure.results import as_json, comparison_table, conditions
from measure.rows import chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

PRESENT = "present"


@contextmanager
def checked_out(revision: str) -> Iterator[tuple[Path, str]]:
    """Yield a worktree of a revision, and its short name. Raises `SystemExit` for an unknown revision."""
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run(
        [*git, "rev-parse", "--short=12", f"{revision}^{{commit}}"], check=False, capture_output=True, text=True
    )
    if found.returncode:
        raise SystemExit(f"{revision} is not a revision: {found.stderr.strip()}")
    with tempfile.TemporaryDirectory(prefix="lineside-compare-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            yield tree, found.stdout.strip()
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", metavar="REV", help="a commit, branch or tag")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure, all without any")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=6.0, help="seconds after the first values")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    try:
        rows = chosen(options.rows)
    except ValueError as error:
        parser.error(str(error))
    raise_file_limit()
    end_on_sigterm()
    where = conditions(ROOT, options.runs, options.seconds)
    with checked_out(options.revision) as (tree, name):
        products = [Lineside(tree, name), Lineside(ROOT, PRESENT)]
        results = measure(rows, lambda _: products, options.runs, Duration(options.warm_up, options.seconds))
    print(comparison_table(results, name, PRESENT))
    print(f"\nPresent: {where['commit']}. Median of {options.runs}, {options.seconds:g} s each, in turn.")
    if options.json:
        options.json.write_bytes(as_json(results, where | {"revision": name}))


if __name__ == "__main__":
    main()
