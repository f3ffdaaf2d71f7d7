"""`python -m benchmarks NAME` measures, `--table` and `--update` write what was measured into documents."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import runner


def main() -> int:
    """Do what was typed; the exit status (1: a target missed or a document out of date, 2: wrong use)."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=runner.__doc__.partition("\n\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="benchmarks, or documents for --update and --check"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small version, under a minute; writes no result"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="list the benchmarks")
    how.add_argument("--table", action="store_true", help="print results as Markdown (of NAMEs, or all)")
    how.add_argument("--update", action="store_true", help="rewrite the tables in the documents NAME...")
    how.add_argument(
        "--check", action="store_true", help="whether the tables in the documents NAME... are up to date"
    )
    given = parser.parse_args()
    try:
        return act(given)
    except runner.Problem as problem:
        parser.error(str(problem))


def act(given: argparse.Namespace) -> int:
    """Do what was asked; the exit status."""
    if given.list:
        print("\n".join(f"{name:<20} {about}" for name, about in runner.benchmarks().items()))
    elif given.table:
        print("\n".join(runner.table(name) for name in given.names or runner.measured()))
    elif given.update or given.check:
        stale = [path for path in given.names if runner.refresh(Path(path), write=given.update)]
        for path in stale:
            print(
                f"{path} {'updated' if given.update else 'is out of date: python -m benchmarks --update ' + path}"
            )
        return int(bool(stale) and given.check)
    elif not given.names:
        raise runner.Problem("name a benchmark, or give --list, --table, --update or --check")
    else:
        return run(given.names, given.quick)
    return 0


def run(names: list[str], quick: bool) -> int:
    """Run benchmarks and print what they measured."""
    missed = 0
    for name in names:
        rows = runner.measure(name, quick=quick)
        print(runner.rows_as_table(rows))
        missed += sum(row["met"] is False for row in rows)
        if not quick:
            print(f"written to {runner.write(name, rows)}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
