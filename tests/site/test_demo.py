"""The demo tells the same believable day every time, and the product sees what is in it."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from reputation.models import Warmup
from reputation_site.demo.cast import BAD_IP, CAST, NO_PTR_IP, WARMING_IP
from reputation_site.demo.story import DAY, MINUTE, Outcome, Story
from reputation_site.management.commands import demo
from tests.site.served import WEBHOOK, Served, failure, processes_of, until

NOW = datetime(2026, 11, 20, 17, 43, tzinfo=UTC)


def told(seed: int = 1) -> list[Outcome]:
    story = Story(seed=seed, peak=NOW, bad_from=NOW - DAY / 2)
    return [outcome for minute in range(1440) for outcome in story.minute(NOW - DAY + minute * MINUTE)]


@pytest.fixture(scope="module")
def day() -> list[Outcome]:
    return told()


def test_the_same_seed_tells_the_same_day_and_another_seed_another(day: list[Outcome]) -> None:
    assert told() == day
    assert told(seed=2) != day


def test_the_day_is_of_the_promised_size_and_its_ids_are_unique(day: list[Outcome]) -> None:
    assert 40_000 <= len(day) <= 60_000
    assert len({outcome.id for outcome in day}) == len(day)
    assert len(CAST) == 6
    assert len({outcome.sending_domain for outcome in day}) == 12


def test_only_documentation_addresses_send_and_the_scenarios_range_is_left_alone() -> None:
    networks = [ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")]
    assert all(any(ip_address(ip.address) in network for network in networks) for ip in CAST)
    assert all(sender.domain.endswith(".example") for ip in CAST for sender in ip.senders)


def test_what_was_deferred_is_tried_again_under_the_same_message_id(day: list[Outcome]) -> None:
    attempts = Counter(one.message_id for one in day if one.reply.type != "complaint")
    deferred = [one for one in day if one.reply.type == "defer" and one.at < NOW - timedelta(minutes=10)]
    assert deferred
    assert all(attempts[one.message_id] == 2 for one in deferred)


@pytest.mark.django_db
def test_one_ip_warms_up_and_a_second_start_changes_nothing() -> None:
    for _ in range(2):
        demo._warm_up()
    row = Warmup.objects.get()
    assert (row.sender, row.state, row.day, row.days) == (WARMING_IP, "running", 6, 14)


def test_the_bad_ip_is_good_until_the_middle_of_the_day(day: list[Outcome]) -> None:
    middle = NOW - DAY / 2
    refused = [one for one in day if one.ip == BAD_IP and one.reply.enhanced_code == "5.7.1"]
    assert len(refused) > 500
    assert min(one.at for one in refused) >= middle


@pytest.mark.parametrize("seed", range(25))
def test_whenever_it_is_started_the_last_15_minutes_show_each_ip_as_meant(seed: int) -> None:
    now = NOW + timedelta(minutes=7 * seed)
    story = Story(seed=seed, peak=now, bad_from=now - DAY / 2)
    told = [one for minute in range(40, 0, -1) for one in story.minute(now - minute * MINUTE)]
    followed = {one.message_id for one in told if one.attempt == 2 and one.reply.type != "complaint"}
    for ip in CAST:
        window = [one for one in told if one.ip == ip.address and one.at >= now - timedelta(minutes=15)]
        # As the product counts: a deferral that was followed by another attempt is no refusal and no message more.
        standing = [
            one
            for one in window
            if one.reply.type != "complaint" and (one.reply.type != "defer" or one.message_id not in followed)
        ]
        refused = [one for one in standing if one.reply.type != "delivery"]
        assert len(standing) > 50
        ratio = len(refused) / len(standing)
        if ip.role == "good":
            assert ratio < 0.02
        elif ip.address == BAD_IP:
            assert ratio > 0.05
            assert {one.recipient.partition("@")[2] for one in refused} == {"gmail.com"}
        elif ip.address == NO_PTR_IP:
            assert 0.02 <= ratio <= 0.03
        else:
            assert ratio <= 0.05


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="gs-demo-"))
    yield path / "data"
    shutil.rmtree(path, ignore_errors=True)


def rows(folder: Path, statement: str) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(f"file:{folder / 'good-standing.sqlite3'}?mode=ro", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.one_database
def test_a_newcomer_sees_the_bad_ip_quarantined_and_a_second_start_sends_only_what_is_new(folder: Path) -> None:
    demo = Served(folder, arguments=("demo",))
    try:
        demo.wait_until_welcome()
        until(lambda: "Have a look" in demo.output, within=110, what="the day")
        stated = dict(rows(folder, "SELECT sending_ip, status FROM reputation_ipstanding"))
        assert stated[BAD_IP] == "quarantine"
        assert stated[NO_PTR_IP] == "warning"
        assert stated["192.0.2.10"] == stated["192.0.2.11"] == stated["2001:db8::25"] == "healthy"
        [(stored,)] = rows(folder, "SELECT count(*) FROM telemetry_sendingevent")
        said = int(re.search(r"([\d,]+) events in", demo.output)[1].replace(",", ""))
        assert 40_000 <= said <= stored
        assert not rows(folder, "SELECT * FROM telemetry_rejectedevent")
        until(
            lambda: rows(folder, "SELECT count(*) FROM telemetry_sendingevent") > [(stored,)],
            within=20,
            what="mail as it happens",
        )
        assert demo.stop() == 0, demo.output
        assert not processes_of(folder)

        again = Served(folder, port=demo.port, arguments=("demo",)).wait_until_welcome()
        until(lambda: "Have a look" in again.output, within=60, what="the second day")
        assert int(re.search(r"([\d,]+) events in", again.output)[1].replace(",", "")) < 1000
        assert again.stop() == 0, again.output
    finally:
        demo.clean_up()


@pytest.mark.one_database
def test_the_demo_does_not_touch_a_folder_with_real_mail(folder: Path) -> None:
    served = Served(folder)
    try:
        served.wait_until_welcome()
        headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
        assert served.request("POST", WEBHOOK, failure("real", at=datetime.now(UTC).isoformat()), **headers)[0] == 200
        assert served.stop() == 0
        demo = Served(folder, arguments=("demo",))
        assert demo.ended() == 1
        assert "holds real mail" in demo.output
        assert rows(folder, "SELECT count(*) FROM telemetry_sendingevent") == [(1,)]
        assert not processes_of(folder)
    finally:
        served.clean_up()
