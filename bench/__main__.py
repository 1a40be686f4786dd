"""``python -m bench [NAME …]``: run the measurements on both databases and print one table each."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import Postgres

TITLES = {
    "beside": "One-event requests at a fixed rate while another client sends large bodies; one web process",
    "blocklists": "100 sending IPs on 22 blocklists, each pair looked up once; real DNS servers on the same cores",
    "causes": "Causes of replies per second and core (no database is used)",
    "cleanup": "Ingest at fixed moments, alone and while a day of events is cleaned up",
    "http": "The documented webhook over HTTP, durable; client, web processes and database on the same cores",
    "ingest": "Events per second into record_batch(), one writer, durable, beside raw rows of the same width",
    "machines": "Several web processes where a commit waits 0.4 s for a synchronous replica (PostgreSQL only)",
    "permits": "Permits asked for at a fixed rate: by Postfix's protocol with the server on one core, and over HTTP",
    "scale": "A scoring run and the poll with 500 sending IPs and 5,000 sending domains, median (longest) of five",
    "scoring": "One scoring run with the same 500 active IPs beside ever more stored events",
    "storage": "Bytes on disk by kind of row, and what a day's messages come to with the retention that is kept",
    "pages": "The console's pages, 500 IPs and 5,000 domains with 30 days of counters; one web process",
    "stalwart": "Stalwart events read per second and core, beside json.loads() alone on the same bytes",
}
KINDS = ("sqlite", "postgres")


@contextmanager
def database(kind: str) -> Iterator[dict[str, str]]:
    """The environment of a fresh, durable database of that kind."""
    folder = Path(tempfile.mkdtemp(prefix="gs-bench-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GS_")}
    # Nobody's name servers are asked by a measurement.
    environment |= {"GS_DATA_DIR": str(folder), "GS_LOG_LEVEL": "ERROR", "GS_DNS_SERVERS": "127.0.0.1:9"}
    environment.pop("DATABASE_URL", None)
    try:
        if kind == "postgres":
            server = Postgres(durable=True).start()
            try:
                yield environment | {"DATABASE_URL": server.url}
            finally:
                server.stop()
        else:
            yield environment
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(name: str, kind: str, quick: bool) -> list[dict[str, str]]:
    """Run one measurement on one database; its rows as printed cells."""
    with database(kind) as environment:
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        subprocess.run(migrate, env=environment, check=True)
        command = [sys.executable, "-m", f"bench.{name}", *(["--quick"] if quick else [])]
        output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [{"database": kind} | row for row in json.loads(output)]


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="*", default=list(TITLES), metavar="|".join(TITLES))
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    parser.add_argument("--db", choices=KINDS, action="append", help="one database; both unless told")
    options = parser.parse_args()
    print(f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    for name in options.what:
        rows = [row for kind in options.db or KINDS for row in measure(name, kind, options.quick)]
        print(f"### {TITLES[name]}\n\n{table(rows)}\n", flush=True)


if __name__ == "__main__":
    main()
