"""Who is looked up on which lists and when: the plan, changes of status, several workers at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.db import connection

from reputation import blocklist_watch, blocklists, history, tasks
from reputation.blocklist_book import asked_lists, ensure_blocklists, save_blocklist
from reputation.models import AuditEntry, Blocklist, BlocklistCanary, Listing, ListingEvent, SenderScore, SendingIP
from reputation.standing import blank_standing
from tests.conftest import NOON
from tests.dns_servers import Scripted, delayed, dropped, listing
from tests.reputation.blocklist_rig import BAD, GOOD, TABLE, quick

REVERSED = "66.2.0.192"
HOUR = timedelta(hours=1)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted({"own.test": listing(REVERSED)}) as scripted, quick():
        yield scripted


@pytest.fixture
def own(db: Any, server: Scripted) -> Blocklist:
    """The only list that is enabled."""
    ensure_blocklists()
    Blocklist.objects.update(is_enabled=False)
    return Blocklist.objects.create(
        name="own",
        zone="own.test",
        listed=TABLE,
        resolver=server.address[0],
        resolver_port=server.port,
        queries_per_second=1000,
    )


@pytest.mark.django_db
def test_the_shipped_lists_are_there_and_an_operators_edit_stays() -> None:
    assert Blocklist.objects.filter(builtin=True).count() == 22
    zen = Blocklist.objects.get(name="spamhaus_zen")
    for row in Blocklist.objects.all():
        row.full_clean()
    assert (zen.ipv4, zen.ipv6, zen.tier, zen.listed["127.0.0.2"]["sublist"]) == (True, True, "A", "SBL")
    Blocklist.objects.filter(pk=zen.pk).update(is_enabled=False, weight=0.2)
    Blocklist.objects.filter(name="psbl").delete()
    ensure_blocklists()
    zen.refresh_from_db()
    assert (zen.is_enabled, zen.weight) == (False, 0.2)
    assert Blocklist.objects.filter(name="psbl").exists()


@pytest.mark.django_db
def test_out_of_the_box_a_list_that_needs_a_key_or_resolver_is_left_alone(settings: Any) -> None:
    settings.DNS_SERVERS = ()
    assert {row.name for row in asked_lists().values()} == {
        *("spamcop", "mailspike_bl", "psbl", "uceprotect_l1", "blocklist_de", "surbl_multi", "uribl_multi")
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"zone": "dnsbl.sorbs.net"}, "zone"),
        ({"zone": "relays.ordb.org"}, "zone"),
        ({"zone": "", "keyed_zone": "{key}.dnsbl.ahbl.org"}, "keyed_zone"),
        ({"zone": ""}, "zone"),
        ({"zone": "UPPER.test"}, "zone"),
        ({"keyed_zone": "no-place.test"}, "keyed_zone"),
        ({"ipv4": False}, "ipv4"),
        ({"listed": {"192.0.2.1": {"meaning": "x"}}}, "listed"),
        ({"listed": {"127.0.0.2": {"severity": "high"}}}, "listed"),
        ({"listed": {"127.0.0.2": {"meaning": "x", "severity": "awful"}}}, "listed"),
        ({"bits": {"3": {"meaning": "x"}}}, "bits"),
        ({"test_listed": ["not a name"]}, "test_listed"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Blocklist(**{"name": "own", "zone": "own.test", **fields}).full_clean()
    assert set(raised.value.message_dict) == {where}


def dead_findings() -> list[str | None]:
    return [found.id for found in run_checks(databases=["default"]) if found.id == "good_standing.E006"]


@pytest.mark.django_db
def test_a_system_check_names_an_enabled_list_that_is_dead() -> None:
    assert dead_findings() == []
    row = Blocklist.objects.create(name="old", zone="dnsbl.njabl.org")
    assert dead_findings() == ["good_standing.E006"]
    Blocklist.objects.filter(pk=row.pk).update(is_enabled=False)
    assert dead_findings() == []


def known(ip: str, **fields: Any) -> SendingIP:
    return SendingIP.objects.create(ip=ip, **{"first_seen_at": NOON, **fields})


def plan() -> int:
    return blocklist_watch.plan(asked_lists().values(), now=NOON)


@pytest.mark.django_db
def test_every_sender_with_mail_in_a_month_is_looked_up_and_no_private_address(own: Blocklist) -> None:
    domains = Blocklist.objects.create(name="dbl", zone="dbl.test", kind="domain", listed=TABLE)
    known(BAD)
    known("10.0.0.5")
    known("192.0.2.77", first_seen_at=NOON - timedelta(days=60))
    old = known(GOOD, first_seen_at=NOON - timedelta(days=60))
    standing = blank_standing(old.ip, now=NOON)
    standing.save()
    for name, age in (("shop.example", 1), ("gone.example", 40)):
        at = NOON - timedelta(days=age)
        SenderScore.objects.create(kind="domain", name=name, window_start=at, window_end=at, computed_at=at)
    assert plan() == 3
    assert set(Listing.objects.values_list("blocklist", "kind", "subject")) == {
        (own.pk, "ip", BAD),
        (own.pk, "ip", GOOD),
        (domains.pk, "domain", "shop.example"),
    }
    assert plan() == 0
    # Who has not sent for a month is looked up no more.
    SendingIP.objects.filter(pk=BAD).update(first_seen_at=NOON - timedelta(days=60))
    plan()
    assert not Listing.objects.filter(subject=BAD).exists()


@pytest.mark.django_db
def test_what_a_person_asked_about_is_followed_for_a_day(own: Blocklist) -> None:
    blocklists.check_now("ip", BAD, now=NOON)
    plan()
    assert Listing.objects.filter(subject=BAD).exists()
    blocklist_watch.plan(asked_lists().values(), now=NOON + timedelta(days=2))
    assert not Listing.objects.filter(subject=BAD).exists()


@pytest.mark.django_db
def test_a_tick_asks_what_is_due_and_not_again_before_its_time(own: Blocklist, server: Scripted) -> None:
    known(BAD)
    known(GOOD)
    plan()
    asked = sum(blocklists.check_due(shard, now=NOON).asked for shard in blocklists.due_shards(now=NOON))
    assert asked == 2
    assert blocklists.due_shards(now=NOON + timedelta(minutes=1)) == []
    good, bad = Listing.objects.get(subject=GOOD), Listing.objects.get(subject=BAD)
    # Four hours less the spread; a listing that waits for its confirmation sooner.
    assert timedelta(hours=3.5) < good.due_at - NOON <= timedelta(hours=4, seconds=1)
    assert bad.due_at - NOON < timedelta(minutes=6)


@pytest.mark.django_db
@pytest.mark.parametrize(("action", "previous", "new"), [("status_change", "healthy", "warning"), ("lift", "a", "b")])
def test_a_change_of_status_is_looked_up_at_once(own: Blocklist, action: str, previous: str, new: str) -> None:
    known("192.0.2.11")
    known(GOOD)
    plan()
    for shard in range(blocklist_watch.SHARDS):
        blocklists.check_due(shard, now=NOON)
    later = NOON + HOUR
    assert blocklist_watch.notice_changes(now=later) == 0
    AuditEntry.objects.create(
        at=later, sending_ip=GOOD, action=action, previous=previous, new=new, triggered_by="automated"
    )
    assert blocklist_watch.notice_changes(now=later) == 1
    assert blocklists.due_shards(now=later) == [blocklist_watch.shard_of(GOOD)]
    blocklists.check_due(blocklist_watch.shard_of(GOOD), now=later)
    # Looked up since, so the same row makes nothing due again.
    assert blocklist_watch.notice_changes(now=later + timedelta(seconds=10)) == 0


@pytest.mark.django_db
def test_a_change_that_was_committed_late_is_seen_all_the_same(own: Blocklist) -> None:
    known(GOOD)
    plan()
    blocklists.check_due(blocklist_watch.shard_of(GOOD), now=NOON)
    blocklist_watch.notice_changes(now=NOON + HOUR)
    AuditEntry.objects.create(
        at=NOON + HOUR - timedelta(minutes=3),
        sending_ip=GOOD,
        action="status_change",
        previous="healthy",
        new="warning",
    )
    assert blocklist_watch.notice_changes(now=NOON + HOUR + timedelta(seconds=10)) == 1


@pytest.mark.django_db
def test_an_act_that_changed_no_status_makes_nothing_due(own: Blocklist) -> None:
    known(GOOD)
    plan()
    blocklists.check_due(blocklist_watch.shard_of(GOOD), now=NOON)
    for action, previous, new in (("release", "healthy", "healthy"), ("breaker_opened", "", "")):
        AuditEntry.objects.create(at=NOON + HOUR, sending_ip=GOOD, action=action, previous=previous, new=new)
    assert blocklist_watch.notice_changes(now=NOON + HOUR) == 0


@pytest.mark.django_db
def test_a_list_that_goes_silent_is_left_alone_for_the_rest_of_the_run(own: Blocklist, server: Scripted) -> None:
    ips = [f"192.0.2.{number}" for number in range(1, 60)]
    first = blocklist_watch.shard_of(ips[0])
    for ip in ips:
        known(ip)
    plan()
    BlocklistCanary.objects.create(blocklist=own, family=4, is_good=True, asked_at=NOON, stands_until=NOON + HOUR)
    Blocklist.objects.filter(pk=own.pk).update(queries_per_second=40)
    server.rules["own.test"] = dropped
    ran = blocklists.check_due(first, now=NOON)
    assert ran.late == 0
    assert set(Listing.objects.filter(shard=first).values_list("error", flat=True)) == {"timeout"}
    # Four at once, each tried twice, and those that had their turn before the third came back; of fifteen.
    assert ran.asked == 15
    assert server.queries("own.test") <= 2 * 6
    assert BlocklistCanary.objects.get().error == "timeout"


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_ask_every_pair_once(own: Blocklist, server: Scripted, settings: Any) -> None:
    settings.DNS_TIMEOUT = timedelta(seconds=10)  # a machine that is busy must not look like a list that is silent
    server.rules["own.test"] = delayed(0.05, listing(REVERSED))
    for number in range(40, 80):
        known(f"192.0.2.{number}")
    plan()
    BlocklistCanary.objects.create(blocklist=own, family=4, is_good=True, asked_at=NOON, stands_until=NOON + HOUR)
    ran: list[int] = []

    def work() -> None:
        ran.extend(blocklists.check_due(shard, now=NOON).asked for shard in range(blocklist_watch.SHARDS))
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    asked = Counter(name for name, rdtype, _ in server.asked if rdtype == "A")
    assert sum(ran) == 40
    assert set(asked.values()) == {1}
    assert len(asked) == 40


@pytest.mark.django_db
def test_one_shard_is_checked_by_one_worker(own: Blocklist, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []

    def check(shard: int, *, now: Any) -> blocklists.Ran:
        inside.append(shard)
        if len(inside) == 1:
            tasks.check_blocklist_shard(shard)  # while the first one works
        return blocklists.Ran()

    monkeypatch.setattr(blocklists, "check_due", check)
    tasks.check_blocklist_shard(2)
    assert inside == [2]
    tasks.check_blocklist_shard(2)
    assert inside == [2, 2]


@pytest.mark.django_db
def test_the_planning_tick_sends_the_shards_in_which_something_is_due(
    own: Blocklist, monkeypatch: pytest.MonkeyPatch
) -> None:
    SendingIP.objects.create(ip=BAD)
    sent: list[Any] = []
    monkeypatch.setattr(tasks.check_blocklist_shard, "apply_async", lambda args, **_: sent.extend(args))
    tasks.check_blocklists()
    assert sent == [blocklist_watch.shard_of(BAD)]
    tasks.notice_status_changes()
    assert len(sent) == 1


@pytest.mark.django_db
def test_an_edit_is_audited_without_the_key_and_forgets_the_test_points(own: Blocklist, admin_user: Any) -> None:
    blocklists.check_now("ip", GOOD, now=NOON)
    assert BlocklistCanary.objects.exists()
    own.keyed_zone, own.tier = "{key}.own.test", "B"
    save_blocklist(own, user=admin_user, key="s3cret", changed=["tier"])
    assert not BlocklistCanary.objects.exists()
    own.refresh_from_db()
    assert (own.key, own.shown_zone) == ("s3cret", "{key}.own.test")
    entry = AuditEntry.objects.get(action="blocklist_changed")
    assert entry.reason == "Blocklist own: {key}.own.test (tier, key)"
    assert "s3cret" not in str(entry.metadata)


@pytest.mark.django_db
def test_events_go_by_the_retention_of_history(own: Blocklist) -> None:
    for age in (1, 4000):
        ListingEvent.objects.create(
            blocklist=own, kind="ip", subject=BAD, at=NOON - timedelta(days=age), from_state="clean", to_state="listed"
        )
    assert history.clean_up(now=NOON)["reputation_listingevent"] == 1
