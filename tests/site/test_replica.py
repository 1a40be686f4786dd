"""Pages read from a real streaming replica, and from the primary whenever the replica would show something wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from reputation_site.env import ConfigurationError, replica_from_url
from tests.e2e.house import ROOT, House, until
from tests.servers import free_port
from tests.site.replicated import Standby, primary_and_standby

ON_POSTGRES = {
    "ENGINE": "django.db.backends.postgresql",
    "CONN_MAX_AGE": 600,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {"prepare_threshold": 0, "connect_timeout": 5},
}
# A reader who only looks, and an operator; a session and a token for each.
PREPARE = """
import json
from datetime import datetime, UTC
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from reputation.models import IpStanding
from telemetry.tokens import issue_api_token
made = {}
for name in ("reader", "operator"):
    user = User.objects.create_superuser(name, password="not used")
    session = SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session.create()
    made[name] = {"token": issue_api_token(user), "session": session.session_key}
now = datetime.now(UTC)
IpStanding.objects.create(
    sending_ip="192.0.2.10", since=now, window_start=now, window_end=now, computed_at=now, why="all is well",
    total_sent=100, total_rejected=0, rejection_ratio=0, unique_recipient_domains=0, automatic_status="healthy",
    status="healthy", rule="none",
)
print(json.dumps(made))
"""


def test_a_replica_needs_postgresql_on_both_sides() -> None:
    with pytest.raises(ConfigurationError, match="only PostgreSQL"):
        replica_from_url("postgresql://replica/db", {"ENGINE": "django.db.backends.sqlite3"})
    with pytest.raises(ConfigurationError, match="GS_REPLICA_URL is not valid"):
        replica_from_url("sqlite:////tmp/copy", ON_POSTGRES)


def test_a_replica_is_reached_as_its_primary_but_given_up_sooner() -> None:
    entry = replica_from_url("postgresql://gs@replica:5433/standing?sslmode=require", ON_POSTGRES)
    assert (entry["HOST"], entry["PORT"], entry["NAME"]) == ("replica", "5433", "standing")
    assert entry["OPTIONS"] | {"prepare_threshold": 0, "connect_timeout": 2, "sslmode": "require"} == entry["OPTIONS"]


def test_without_a_replica_nothing_is_routed() -> None:
    from django.conf import settings

    assert settings.DATABASE_ROUTERS == []
    assert not any("replica" in name for name in settings.MIDDLEWARE)


def test_a_replica_is_as_old_as_the_oldest_position_that_it_lacks() -> None:
    from reputation_site.replica_watch import Positions

    positions = Positions()
    assert positions.as_of(10**12) is None, "nothing is known yet"
    for moment, position in ((100.0, 5000), (101.0, 6000), (102.0, 6000), (103.0, 7000)):
        positions.note(moment, position)
    assert positions.as_of(7000) == 103.0
    # Nothing was written between 101 and 102: who has replayed 6000 lacks nothing of 102.
    assert positions.as_of(6999) == positions.as_of(6000) == 102.0
    assert positions.as_of(4999) is None


class Site:
    """Web processes beside one primary and its replica, and who asks them."""

    def __init__(self, home: House, standby: Standby, people: dict[str, dict[str, str]]) -> None:
        self.home, self.standby, self.people = home, standby, people
        self.ports: dict[str, int] = {}

    def start(self, name: str, most_lag: timedelta) -> None:
        """One more web process."""
        self.ports[name] = free_port()
        lag = str(int(most_lag.total_seconds()))
        # Each counts for itself, so that one can tell where it read.
        own = str(self.home.folder / f"metrics-{name}")
        self.home.start("web", name, GS_PORT=str(self.ports[name]), GS_REPLICA_MAX_LAG=lag, GS_METRICS_DIR=own)

    def ask(self, web: str, path: str, who: str = "", body: Any = None) -> str:
        """The text that this process answers; by session for pages, by token for the API."""
        headers = {}
        if who and path.startswith("/api"):
            headers = {"Authorization": f"Bearer {self.people[who]['token']}", "Content-Type": "application/json"}
        elif who:
            headers = {"Cookie": f"sessionid={self.people[who]['session']}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[web]}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
            return str(answer.read().decode())

    def reads(self, web: str, database: str, why: str) -> float:
        """How many requests of this process read from there, for that reason."""
        line = f'page_reads_total{{database="{database}",why="{why}"}} '
        found = [row for row in self.ask(web, "/metrics").splitlines() if row.startswith(line)]
        return float(found[0].removeprefix(line)) if found else 0.0

    def shows(self, web: str, ip: str, who: str = "reader") -> tuple[bool, bool]:
        """Whether the API's list and the page show this IP."""
        return f'"{ip}"' in self.ask(web, "/api/ips", who), ip in self.ask(web, "/", who)

    def uses_replica(self, web: str) -> bool:
        """Whether the next page comes from the replica."""
        before = self.reads(web, "replica", "fresh")
        self.ask(web, "/", "reader")
        return self.reads(web, "replica", "fresh") > before

    @contextmanager
    def replay_paused(self) -> Iterator[None]:
        """The replica stays as it is now, once it has everything that was committed so far."""
        with psycopg.connect(self.home.environment["DATABASE_URL"]) as primary:
            now = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()[0]
        caught_up = f"SELECT pg_last_wal_replay_lsn() >= '{now}'"
        until(lambda: self.standby.execute(caught_up), seconds=60, what="the replica did not catch up")
        self.standby.execute("SELECT pg_wal_replay_pause()")
        paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
        until(lambda: self.standby.execute(paused), seconds=60, what="the replay did not pause")
        try:
            yield
        finally:
            self.standby.execute("SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with primary_and_standby() as (primary, standby):
        folder = tmp_path_factory.mktemp("replicated")
        # These processes serve pages only: no broker is asked.
        home = House(folder, primary.url, "redis://127.0.0.1:1/0")
        home.manage("migrate", "--verbosity=0")
        people = json.loads(home.manage("shell", "--no-imports", "-c", PREPARE))
        home.environment["GS_REPLICA_URL"] = standby.url
        made = Site(home, standby, people)
        try:
            # Two that bear any lag that a slow machine may bring, and one that bears nearly none.
            made.start("patient", timedelta(minutes=5))
            made.start("also patient", timedelta(minutes=5))
            made.start("strict", timedelta(seconds=1))
            for name in made.ports:
                until(lambda name=name: _answers(made, name), seconds=120, what=f"{name} did not answer\n{home.logs()}")
            yield made
        finally:
            home.stop()


def _answers(site: Site, web: str) -> bool:
    try:
        return site.ask(web, "/healthz") == "ok\n"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.one_database
def test_pages_come_from_the_replica_unless_that_would_show_something_wrong(site: Site) -> None:
    for web in site.ports:
        until(lambda web=web: site.uses_replica(web), seconds=60, what=f"{web} does not use it\n{site.home.logs()}")
    _an_own_write_is_seen_at_once(site)
    _lag_sends_pages_to_the_primary(site)
    _a_connection_that_ends_in_the_middle_of_a_page_costs_nothing(site)
    _pages_go_on_when_the_replica_dies(site)


def _an_own_write_is_seen_at_once(site: Site) -> None:
    with site.replay_paused():
        act = {"reason": "the replica has not heard of it"}
        answer = json.loads(site.ask("patient", "/api/ips/192.0.2.10/quarantine", "operator", act))
        assert answer["status"] == "quarantine"
        # By token and by session, in the process that wrote and in another one.
        for web in ("patient", "also patient"):
            assert '"quarantine"' in site.ask(web, "/api/ips", "operator")
            assert "the replica has not heard of it" in site.ask(web, "/ips/192.0.2.10/", "operator")
            # Somebody else is shown the replica, which cannot know: that is what proves where pages come from.
            assert '"quarantine"' not in site.ask(web, "/api/ips", "reader")
            assert "the replica has not heard of it" not in site.ask(web, "/ips/192.0.2.10/", "reader")
            assert site.reads(web, "primary", "own write") >= 2
    # As soon as the replica has it, the operator's pages come from there again.
    before = site.reads("patient", "replica", "fresh")

    def from_the_replica() -> bool:
        assert '"quarantine"' in site.ask("patient", "/api/ips", "operator")
        return site.reads("patient", "replica", "fresh") > before

    until(from_the_replica, seconds=60, what="the operator stays on the primary")


def _lag_sends_pages_to_the_primary(site: Site) -> None:
    with site.replay_paused():
        with psycopg.connect(site.home.environment["DATABASE_URL"]) as primary:
            primary.execute("UPDATE reputation_ipstanding SET sending_ip = '192.0.2.77'")
        assert site.shows("patient", "192.0.2.77") == (False, False)
        assert site.shows("patient", "192.0.2.10") == (True, True)
        until(
            lambda: site.shows("strict", "192.0.2.77") == (True, True),
            seconds=60,
            what="the page stays with a replica that lags",
        )
        assert site.reads("strict", "primary", "lag") > 0
        assert "pages are read from the primary reason=lag" in _log(site, "strict")
        gauge = next(
            row for row in site.ask("strict", "/metrics").splitlines() if row.startswith("replica_lag_seconds ")
        )
        assert float(gauge.split()[1]) > 1
    until(lambda: site.shows("patient", "192.0.2.77") == (True, True), seconds=60, what="the replica caught up")
    until(lambda: site.uses_replica("strict"), seconds=60, what="the pages did not come back to the replica")


def _a_connection_that_ends_in_the_middle_of_a_page_costs_nothing(site: Site) -> None:
    environment = site.home.environment | {"PYTHONPATH": str(ROOT), "GS_REPLICA_MAX_LAG": "300"}
    command = [sys.executable, "-m", "tests.site.failing_replica"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def _pages_go_on_when_the_replica_dies(site: Site) -> None:
    site.standby.kill()
    for web in site.ports:
        for _ in range(3):
            assert site.shows(web, "192.0.2.77") == (True, True)
        assert site.reads(web, "primary", "down") > 0
        assert not site.uses_replica(web)
        assert "pages are read from the primary reason=down" in _log(site, web)


def _log(site: Site, web: str) -> str:
    return (site.home.folder / f"{web}.log").read_text()
