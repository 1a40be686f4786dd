"""A token that was made before there were scopes may what it might before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import own_database
from tests.telemetry.test_storage_migration import Database

USER = """
INSERT INTO auth_user (id, username, password, is_superuser, is_staff, is_active, first_name, last_name, email,
date_joined, last_login) VALUES (7, 'olga', '!', {yes}, {yes}, {yes}, '', '', '', '2026-11-20 12:00:00', '2026-11-20 12:00:00')
"""
TOKEN = """
INSERT INTO telemetry_apitoken (prefix, digest, label, created_at, user_id) VALUES
('abcdefghijkl', 'd', 'from before', '2026-11-20 12:00:00', 7)
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with own_database(tmp_path, empty=True) as url:
        found = Database(url, tmp_path)
        found.migrate("0008_storage")
        yield found


def test_a_token_from_before_there_were_scopes_goes_as_far_as_its_user(database: Database) -> None:
    yes = "true" if database.url.startswith("postgresql") else "1"
    database.run(USER.format(yes=yes), TOKEN)
    database.migrate("0010_token_scopes_and_limits")
    assert database.rows("SELECT prefix, scope FROM telemetry_apitoken") == [("abcdefghijkl", "admin")]
    database.migrate("0008_storage")
    assert database.rows("SELECT prefix, label FROM telemetry_apitoken") == [("abcdefghijkl", "from before")]
