"""Chooses the database before Django reads its settings: ``pytest --db=sqlite`` (default) or ``--db=postgres``.

A plugin of its own because settings are read earlier than any conftest. With ``-n`` the first process starts the server
and the workers find it in their environment.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Postgres

_SERVER: list[Postgres] = []
_FOLDERS: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--db``."""
    parser.addoption("--db", choices=("sqlite", "postgres"), default="sqlite", help="database to run the suite on")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    """Point the settings at a temporary data folder and the chosen database."""
    for name in [name for name in os.environ if name.startswith("GS_")]:
        del os.environ[name]
    if "TESTS_DATA_DIR" not in os.environ:
        os.environ["TESTS_DATA_DIR"] = tempfile.mkdtemp(prefix="gs-tests-")
        _FOLDERS.append(os.environ["TESTS_DATA_DIR"])
    chosen = parser.parse_known_args(args).db
    if chosen == "postgres":
        if "TESTS_DATABASE_URL" not in os.environ:
            _SERVER.append(Postgres().start())
            os.environ["TESTS_DATABASE_URL"] = _SERVER[0].url
        os.environ["DATABASE_URL"] = os.environ["TESTS_DATABASE_URL"]
    # Nobody listens there: no question of a test leaves this machine.
    os.environ["GS_DNS_SERVERS"] = "127.0.0.1:9"
    os.environ["GS_DATA_DIR"] = os.environ["TESTS_DATA_DIR"]
    # The web process makes it; without it every request of the test client warns.
    (Path(os.environ["TESTS_DATA_DIR"]) / "static").mkdir(exist_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_unconfigure(config: pytest.Config) -> Generator[None, Any, None]:
    """Stop the server that this process started and remove its folder."""
    yield
    for server in _SERVER:
        server.stop()
    for folder in _FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)
