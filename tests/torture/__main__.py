"""``python -m tests.torture``: see docs/survival.md."""

from __future__ import annotations

import argparse
import signal
import sys

from tests.torture.run import torture


def main() -> None:
    """Torture one database after the other and print a table for each; exit code 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=8, help="about how long for each database")
    parser.add_argument("--quick", action="store_true", help="each episode once, as short as it goes, with less load")
    parser.add_argument("--db", choices=("sqlite", "postgres"), action="append", help="only this database")
    parser.add_argument("--only", default="", help="only episodes whose name holds this")
    options = parser.parse_args()
    # So that what was started is stopped and unmounted in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found = []
    for database in options.db or ("postgres", "sqlite"):
        result = torture(database, minutes=0 if options.quick else options.minutes, only=options.only, tell=print)
        print(result.table(), flush=True)
        found += result.faults
    for fault in found:
        print(fault, file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
