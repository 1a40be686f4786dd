"""A primary and its streaming replica as real servers, the replica made by the recipe of docs/scaling.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.servers import USER_WITHOUT_RIGHTS, Postgres, free_port

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


class Standby:
    """A hot standby that streams from a primary."""

    def __init__(self, primary: Postgres, **settings: str) -> None:
        self.folder = primary.folder / "standby"
        self.port = free_port()
        self._bin = primary.bin
        self._as_user = {"user": USER_WITHOUT_RIGHTS, "group": USER_WITHOUT_RIGHTS} if os.geteuid() == 0 else {}
        self.folder.mkdir(mode=0o700)
        if self._as_user:
            os.chown(self.folder, USER_WITHOUT_RIGHTS, USER_WITHOUT_RIGHTS)
        found = re.search(r"^pg_basebackup .*$", RECIPE.read_text(), re.MULTILINE)
        assert found, "docs/scaling.md has lost the command that makes the replica"
        names = {"PATH": f"{self._bin}:{os.environ['PATH']}", "PRIMARY": primary.url, "REPLICA_DATA": str(self.folder)}
        subprocess.run(
            ["/bin/sh", "-c", found[0]],
            env=names,
            cwd=primary.folder,
            check=True,
            capture_output=True,
            **self._as_user,
        )
        settings = {"unix_socket_directories": "", "shared_buffers": "64MB", "max_connections": "100"} | settings
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [str(self._bin / "postgres"), "-D", str(self.folder), "-p", str(self.port), *options],
            cwd=primary.folder,
            stdout=subprocess.DEVNULL,
            stderr=(primary.folder / "standby.log").open("ab"),
            **self._as_user,
        )
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the standby did not start: {(primary.folder / 'standby.log').read_text()}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Its main process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """GS_REPLICA_URL."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def execute(self, statement: str) -> object:
        """Run a statement on the replica; the first value of its answer."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
            return None if row is None else row[0]

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)


@contextmanager
def primary_and_standby() -> Iterator[tuple[Postgres, Standby]]:
    """Both servers, the replica streaming."""
    primary = Postgres(durable=True).start()  # as in production: a commit is on disk when it is acknowledged
    standby = None
    try:
        standby = Standby(primary)
        yield primary, standby
    finally:
        if standby is not None:
            standby.kill()
            shutil.rmtree(standby.folder, ignore_errors=True)
        primary.stop()
