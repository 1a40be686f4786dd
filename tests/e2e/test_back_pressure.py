"""When the database stands still: what waits is bounded, the rest is told to try again, and nothing counts twice."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.house import House, house, until
from tests.e2e.test_live import MAKE_TOKEN, event

pytestmark = pytest.mark.slow

WEBHOOK = "/api/webhooks/stalwart/delivery-failure"
STORED = """
from django.db.models import F, Sum
from telemetry.models import SendingEvent, TrafficMinute
total = TrafficMinute.objects.aggregate(n=Sum(F("delivered") + F("bounced")))["n"]
print(*sorted(SendingEvent.objects.values_list("event_id", flat=True)), total)
"""
MOST_WAITING = 40
ALL = 150


async def post(port: int, token: str, body: bytes, arrived: list[tuple[float, int]] | None = None) -> tuple[int, str]:
    """Status and Retry-After of one request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST {WEBHOOK} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.read(), 90)
    writer.close()
    headers = answer.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    retry = next((line.split(": ")[1] for line in headers if line.startswith("retry-after")), "")
    if arrived is not None:
        arrived.append((asyncio.get_running_loop().time(), len(body)))
    return int(headers[0].split()[1]), retry


def one(number: int) -> bytes:
    return json.dumps({"events": [event(number, refused=False, ip="192.0.2.1")]}).encode()


@contextmanager
def held(home: House) -> Iterator[None]:
    """Nobody can write the database while this lasts."""
    url = home.environment["DATABASE_URL"]
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE telemetry_receipt IN ACCESS EXCLUSIVE MODE")
            yield
    else:
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
        connection.close()


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[tuple[House, str]]:
    with house(folder) as home:
        home.environment |= settings | {"GS_SQLITE_TIMEOUT": "90"}
        token = home.manage("shell", "--no-imports", "-c", MAKE_TOKEN).strip()
        home.start("web")
        until(home.answers, seconds=90, what=f"the web process did not answer\n{home.logs()}")
        # The door knows the token from now on; looking it up would wait for nothing.
        assert asyncio.run(post(home.port, token, one(10_000)))[0] == 200
        yield home, token


def stored(home: House) -> tuple[set[str], int]:
    """The event ids that are stored, and how many events were counted."""
    *ids, total = home.manage("shell", "--no-imports", "-c", STORED).split()
    assert len(ids) == len(set(ids))
    return set(ids) - {"192.0.2.1-10000"}, int(total) - 1


def test_what_waits_is_bounded_the_rest_is_refused_and_what_was_acknowledged_is_stored(tmp_path: Path) -> None:
    with serving(tmp_path, GS_INGEST_MOST_WAITING=str(MOST_WAITING), GS_INGEST_PATIENCE="60") as (home, token):

        async def storm() -> dict[int, tuple[int, str]]:
            with held(home):
                tasks = {number: asyncio.create_task(post(home.port, token, one(number))) for number in range(ALL)}
                # All that cannot wait are answered while the database still stands.
                while sum(task.done() for task in tasks.values()) < ALL - MOST_WAITING:
                    await asyncio.sleep(0.05)
            return {number: await task for number, task in tasks.items()}

        answers = asyncio.run(asyncio.wait_for(storm(), 120))
        assert Counter(status for status, _ in answers.values()) == {503: ALL - MOST_WAITING, 200: MOST_WAITING}
        assert all(1 <= int(retry) <= 60 for status, retry in answers.values() if status == 503)
        acknowledged = {f"192.0.2.1-{number}" for number, (status, _) in answers.items() if status == 200}
        assert stored(home) == (acknowledged, MOST_WAITING)


def test_who_waits_too_long_is_told_to_try_again_and_counts_once_however_it_ends(tmp_path: Path) -> None:
    with serving(tmp_path, GS_INGEST_PATIENCE="1") as (home, token):

        async def stand_still() -> list[int]:
            with held(home):
                answers = await asyncio.gather(*(post(home.port, token, one(number)) for number in range(10)))
            return [status for status, _ in answers]

        async def again() -> list[int]:
            return [(await post(home.port, token, one(number)))[0] for number in range(10)]

        assert asyncio.run(stand_still()) == [503] * 10
        assert asyncio.run(again()) == [200] * 10
        assert stored(home) == ({f"192.0.2.1-{number}" for number in range(10)}, 10)


def test_a_body_of_ten_thousand_events_does_not_hold_up_the_ones_that_carry_one(tmp_path: Path) -> None:
    with serving(tmp_path) as (home, token):
        events = [event(number, refused=False, ip="192.0.2.9") for number in range(10_000)]
        large = json.dumps({"events": events}).encode()

        async def side_by_side() -> list[tuple[float, int]]:
            arrived: list[tuple[float, int]] = []
            first = asyncio.create_task(post(home.port, token, large, arrived))
            await asyncio.sleep(0)  # it is sent before the others
            rest = [asyncio.create_task(post(home.port, token, one(number), arrived)) for number in range(20)]
            assert {(await task)[0] for task in [first, *rest]} == {200}
            return arrived

        arrived = asyncio.run(side_by_side())
        assert max(arrived)[1] == len(large)
        assert len(stored(home)[0]) == 10_020


REFUSES = {
    "postgresql": """
        CREATE FUNCTION moody() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER moody BEFORE INSERT ON telemetry_sendingevent FOR EACH ROW
        WHEN (NEW.recipient_domain = 'poison.example') EXECUTE FUNCTION moody()""",
    "sqlite": """
        CREATE TRIGGER moody BEFORE INSERT ON telemetry_sendingevent WHEN NEW.recipient_domain = 'poison.example'
        BEGIN SELECT RAISE(ABORT, 'not this one'); END""",
}


def test_an_event_that_the_database_refuses_is_kept_as_rejected_and_its_neighbours_are_recorded(tmp_path: Path) -> None:
    with serving(tmp_path) as (home, token):
        kind = "postgresql" if "TESTS_DATABASE_URL" in os.environ else "sqlite"
        make = f"from django.db import connection\nconnection.cursor().execute({REFUSES[kind]!r})"
        home.manage("shell", "--no-imports", "-c", make)
        bad: dict[str, Any] = event(1, refused=False, ip="192.0.2.1")
        bad["data"]["recipient"] = "someone@poison.example"
        bodies = [one(number) for number in range(2, 20)] + [json.dumps({"events": [bad]}).encode()]

        async def together() -> list[int]:
            with held(home):  # so that they are recorded together
                tasks = [asyncio.create_task(post(home.port, token, body)) for body in bodies]
                await asyncio.sleep(0.5)
            return [(await task)[0] for task in tasks]

        assert asyncio.run(together()) == [200] * len(bodies)
        assert stored(home) == ({f"192.0.2.1-{number}" for number in range(2, 20)}, 18)
        kept = "from telemetry.models import RejectedEvent as R; print(*R.objects.values_list('field', 'message'))"
        assert "cannot be stored" in home.manage("shell", "--no-imports", "-c", kept)
