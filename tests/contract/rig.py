"""A served installation, and Schemathesis against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.house import ROOT, House, own_database, until
from tests.servers import valkey

HERE = Path(__file__).resolve().parent


@dataclass
class Contract:
    """A web process with a seeded database, and who may speak with it."""

    house: House
    tokens: dict[str, str]

    def play(self, *arguments: str, show: bool = False) -> subprocess.CompletedProcess[str]:
        """Run Schemathesis on the whole document; its exit code is 0 when nothing was found."""
        command = [
            str(Path(sys.executable).parent / "schemathesis"),
            *("--config-file", str(HERE / "schemathesis.toml"), "--no-color"),
            *("run", self.house.url("/api/schema"), *arguments),
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.run(
            command,
            cwd=self.house.folder,
            env=environment | self.tokens | {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.contract.hooks"},
            stdout=None if show else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@contextmanager
def contract(folder: Path) -> Iterator[Contract]:
    """Serve and seed; the database is of the kind that TESTS_DATABASE_URL says, SQLite without it."""
    with own_database(folder) as database_url, valkey() as redis_url:
        house = House(folder, database_url, redis_url)
        # One process, as its own memory must not hide what another one wrote.
        house.environment |= {"GS_PUBLIC_URL": "https://standing.example", "PYTHONPATH": str(ROOT)}
        try:
            seeded = subprocess.run(
                [sys.executable, "-m", "tests.contract.seed"],
                cwd=ROOT,
                env=house.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert seeded.returncode == 0, seeded.stderr
            house.start("web")
            until(house.answers, seconds=60, what="the web process")
            yield Contract(house, json.loads(seeded.stdout))
        finally:
            house.stop()
