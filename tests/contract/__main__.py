"""``python -m tests.contract --seconds 600 --db postgres``: play the whole document, and exit 1 when something is found."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.servers import Postgres


def main() -> int:
    """Serve, play, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="go on for this long; 0: once through")
    parser.add_argument("--db", choices=("sqlite", "postgres"), default="sqlite")
    options, words = parser.parse_known_args()
    from tests.contract.rig import contract

    server = Postgres().start() if options.db == "postgres" else None
    if server is not None:
        os.environ["TESTS_DATABASE_URL"] = server.url
    try:
        with tempfile.TemporaryDirectory(prefix="gs-contract-") as folder, contract(Path(folder)) as played:
            began = time.monotonic()
            budget = [f"--max-time={options.seconds}"] if options.seconds else []
            done = played.play(*budget, *words, show=True)
            sys.stdout.write(f"{options.db}: {time.monotonic() - began:.0f} s\n")
            if done.returncode:
                sys.stdout.write(played.house.logs())
            return done.returncode
    finally:
        if server is not None:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
