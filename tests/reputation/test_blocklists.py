"""Blocklists against real DNS servers: what each way of answering is taken for, and when it is believed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from reputation import blocklist_queries, blocklists
from reputation.blocklist_book import asked_lists
from reputation.domain.dnsbl_belief import State
from reputation.models import AuditEntry, Blocklist, BlocklistCanary, Listing, ListingEvent
from tests.conftest import NOON
from tests.dns_servers import Rule, answering, delayed, dropped, listing, refused, servfail, truncated
from tests.reputation.blocklist_rig import (
    BAD,
    BAD6,
    BAD_DOMAIN,
    GOOD,
    GOOD6,
    GOOD_DOMAIN,
    LATER,
    Rig,
    look,
    quick,
    servers,
)

pytestmark = pytest.mark.django_db
REVERSED = "66.2.0.192"


@pytest.fixture(scope="module")
def started() -> Iterator[Rig]:
    with servers() as rig:
        yield rig


@pytest.fixture
def rig(started: Rig, db: Any) -> Iterator[Rig]:
    Blocklist.objects.update(is_enabled=False)
    started.scripted.rules.clear()
    started.scripted.asked.clear()
    with quick():
        yield started


def only(rows: list[Listing]) -> Listing:
    (row,) = rows
    return row


def test_a_listing_is_seen_with_its_meaning_and_the_lists_own_words(rig: Rig) -> None:
    rig.list("bl.test")
    row = only(look(BAD))
    assert (row.result, row.codes, row.sublists, row.meaning, row.severity) == (
        "listed",
        ["127.0.0.2"],
        ["SBL"],
        "spam source",
        "critical",
    )
    assert row.text == f"Listed, see https://bl.test/{BAD}"
    # Seen once is not believed yet.
    assert (row.state, row.pending) == ("unknown", "listed")
    assert not ListingEvent.objects.exists()


def test_who_is_on_no_list_is_clean(rig: Rig) -> None:
    rig.list("bl.test")
    row = only(look(GOOD))
    assert (row.result, row.state, row.error) == ("clean", "clean", "")


def test_a_listing_seen_twice_is_one_event_and_a_repeat_is_none(rig: Rig) -> None:
    rig.list("bl.test")
    row = only(look(BAD, 6))
    assert row.state == State.LISTED
    event = ListingEvent.objects.get()
    assert (event.subject, event.from_state, event.to_state, event.tier) == (BAD, "unknown", "listed", "A")
    entry = AuditEntry.objects.get(action="blocklist_listed")
    assert entry.sending_ip == BAD
    assert entry.reason == f"{BAD} is on the list bl (SBL): spam source. Seen 2 times in a row."
    assert entry.metadata["delist_url"] == "https://bl.test/remove"


def test_a_delisting_needs_two_looks_too(rig: Rig) -> None:
    rig.script("own.test", listing(REVERSED))
    look(BAD, 2)
    rig.scripted.rules["own.test"] = listing()
    assert only(look(BAD, since=2)).state == State.LISTED
    assert only(look(BAD, since=3)).state == State.CLEAN
    assert [event.to_state for event in ListingEvent.objects.order_by("id")] == ["listed", "clean"]
    assert AuditEntry.objects.filter(action="blocklist_delisted").count() == 1


def test_a_flapping_list_tells_nothing(rig: Rig) -> None:
    rig.script("flap.test", listing())
    look(BAD)
    for number in range(1, 9):
        rig.scripted.rules["flap.test"] = listing(*([REVERSED] if number % 2 else []))
        look(BAD, since=number)
    assert only(list(Listing.objects.all())).state == State.CLEAN
    assert not ListingEvent.objects.exists()


def test_you_may_not_ask_is_an_error_and_no_listing(rig: Rig) -> None:
    rig.list("refusing.test")
    row = only(look(BAD, 3))
    assert (row.result, row.error, row.state) == ("error", "blocked", "unknown")
    assert "public resolver" in row.detail


@pytest.mark.parametrize(
    ("rule", "error"),
    [(servfail, "servfail"), (refused, "refused"), (dropped, "timeout"), (delayed(1, listing(REVERSED)), "timeout")],
)
def test_a_list_that_does_not_answer_is_an_error_and_never_clean(rig: Rig, rule: Rule, error: str) -> None:
    rig.script("broken.test", rule)
    row = only(look(BAD, 2))
    assert (row.result, row.error, row.state, row.failures) == ("error", error, "unknown", 2)


@pytest.mark.parametrize("rule", [servfail, refused, dropped])
def test_an_error_leaves_a_listing_and_a_clean_answer_as_they_were(rig: Rig, rule: Rule) -> None:
    rig.script("own.test", listing(REVERSED))
    look(BAD, 2)
    look(GOOD, 2)
    rig.scripted.rules["own.test"] = rule
    BlocklistCanary.objects.all().delete()
    assert only(look(BAD, 3, since=2)).state == State.LISTED
    assert only(look(GOOD, 3, since=2)).state == State.CLEAN
    assert ListingEvent.objects.count() == 1
    # What to do about the listing is still known.
    assert only(look(BAD)).meaning == "spam source"


def test_a_truncated_answer_is_fetched_over_tcp(rig: Rig) -> None:
    rig.script("cut.test", truncated(listing(REVERSED)))
    assert only(look(BAD)).result == "listed"
    assert {how for _, _, how in rig.scripted.asked} == {"udp", "tcp"}


def test_a_slow_list_is_waited_for_within_its_timeout(rig: Rig) -> None:
    rig.script("slow.test", delayed(0.1, listing(REVERSED)))
    row = only(look(BAD))
    assert row.result == "listed"
    assert row.took is not None
    assert row.took >= 0.1


@pytest.mark.parametrize("zone", ["everything.test", "empty.test"])
def test_a_list_that_names_everything_or_nothing_is_caught_by_its_test_points(rig: Rig, zone: str) -> None:
    rig.list(zone)
    for ip in (BAD, GOOD):
        row = only(look(ip, 3))
        assert (row.result, row.error, row.state) == ("error", "canary", "unknown")
    assert not ListingEvent.objects.exists()
    canary = BlocklistCanary.objects.get()
    assert (canary.is_good, canary.error) == (False, "canary")


def test_test_points_are_asked_once_and_remembered(rig: Rig) -> None:
    rig.script("own.test", listing(REVERSED))
    for ip in (BAD, GOOD):
        look(ip, 3)
    names = [name for name, rdtype, _ in rig.scripted.asked if rdtype == "A"]
    assert names.count("2.0.0.127.own.test") == names.count("1.0.0.127.own.test") == 1
    # After an hour they are asked anew.
    look(BAD, since=7)
    names = [name for name, rdtype, _ in rig.scripted.asked if rdtype == "A"]
    assert names.count("2.0.0.127.own.test") == 2


def test_a_list_that_fails_its_test_points_is_asked_about_nobody(rig: Rig) -> None:
    rig.script("liar.test", answering({"*": {"A": ["127.0.0.2"]}}))
    look(BAD)
    look(GOOD)
    assert {name for name, _, _ in rig.scripted.asked} == {"2.0.0.127.liar.test", "1.0.0.127.liar.test"}


def test_ipv6_is_asked_by_nibbles_where_a_list_has_it(rig: Rig) -> None:
    rig.list("bl6.test", ipv4=False, ipv6=True)
    rig.list("bl.test")
    assert only(look(BAD6)).result == "listed"
    assert only(look(GOOD6)).result == "clean"
    assert only(look(BAD)).blocklist.name == "bl"


def test_a_sending_domain_is_looked_up_on_lists_of_domains_and_so_is_its_registered_part(rig: Rig) -> None:
    rig.list("dbl.test", kind="domain")
    bits = {"64": {"meaning": "spam", "severity": "medium", "sublist": "ABUSE"}}
    rig.list(
        "multi.test", kind="domain", match="bitmask", listed={}, bits=bits, test_listed=["test.surbl.test"], tier="B"
    )
    rig.list("bl.test")
    for name in (BAD_DOMAIN, f"mail.{BAD_DOMAIN}"):
        assert [(row.blocklist.name, row.result) for row in look(name, kind="domain")] == [
            ("dbl", "listed"),
            ("multi", "listed"),
        ]
    assert {row.result for row in look(GOOD_DOMAIN, kind="domain")} == {"clean"}
    look(BAD_DOMAIN, kind="domain", since=1)
    entry = AuditEntry.objects.filter(action="blocklist_listed", subject=BAD_DOMAIN).first()
    assert entry is not None
    assert entry.sending_ip is None


def test_a_keyed_list_is_asked_with_its_key_which_is_shown_nowhere(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    records = {
        "2.0.0.127": {"A": ["127.0.0.2"]},
        REVERSED: {"A": ["127.0.0.2"], "TXT": ['"https://bl.test/?key=s3cret-key"']},
    }
    fields = {"zone": "dq.test", "keyed_zone": "{key}.dq.test", "name": "dq", "delist_url": ""}
    row = rig.script("s3cret-key.dq.test", answering(records), **fields)
    row.key = "s3cret-key"
    row.save()
    found = only(look(BAD, 2))
    assert found.state == State.LISTED
    assert {name for name, _, _ in rig.scripted.asked} == {
        f"{point}.s3cret-key.dq.test" for point in ("2.0.0.127", "1.0.0.127", REVERSED)
    }
    stored = [
        *Listing.objects.values(),
        *ListingEvent.objects.values(),
        *AuditEntry.objects.values(),
        *Blocklist.objects.filter(pk=row.pk).values(),
        *BlocklistCanary.objects.values(),
        repr(row.as_zone),
        row.shown_zone,
    ]
    assert [text for text in map(str, [*stored, caplog.text]) if "s3cret" in text] == []
    assert found.text == "https://bl.test/?key=…"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"is_enabled": False}, "not enabled"),
        ({"zone": "", "keyed_zone": "{key}.own.test"}, "needs a key"),
        ({"needs": "key"}, "needs a key"),
        ({"zone": "dnsbl.sorbs.net"}, "dead"),
        ({"zone": "bl.spamcannibal.org"}, "dead"),
    ],
)
def test_no_query_leaves_for_a_list_that_must_not_be_asked(rig: Rig, fields: dict[str, Any], why: str) -> None:
    row = rig.script("own.test", listing(REVERSED), **fields)
    assert row.why_not_asked == why
    assert look(BAD, 2) == []
    # Neither where a row of it is left from before.
    Listing.objects.create(blocklist=row, kind="ip", subject=BAD, shard=0, due_at=NOON)
    assert blocklists.due_shards(now=NOON + LATER) == []
    assert blocklists.check_due(0, now=NOON + LATER).asked == 0
    assert rig.scripted.asked == []


def test_needs_are_met_by_a_resolver_or_a_key(rig: Rig, settings: Any) -> None:
    settings.DNS_SERVERS = ()
    rows = {
        needs: rig.script(f"{needs}.test".replace("_", "-"), listing(), name=needs, needs=needs, resolver=None)
        for needs in ("key", "resolver", "key_or_resolver")
    }
    assert asked_lists() == {}
    Blocklist.objects.update(resolver="127.0.0.1")
    assert set(asked_lists()) == {rows["resolver"].pk, rows["key_or_resolver"].pk}


def test_an_answer_stands_for_its_ttl(rig: Rig) -> None:
    rig.script("own.test", listing(REVERSED, ttl=3600))
    look(BAD)
    before = len(rig.scripted.asked)
    # Asked again within the hour: neither a query nor a confirmation.
    row = only(look(BAD, 4, since=1))
    assert (len(rig.scripted.asked), row.state) == (before, "unknown")
    assert only(look(BAD, since=7)).state == State.LISTED


def test_a_person_gets_what_is_there_in_time_and_the_rest_is_still_asked(rig: Rig) -> None:
    rig.list("bl.test")
    slow = rig.script("slow.test", delayed(2, listing(REVERSED)))
    began = time.monotonic()
    ran, late = blocklists.check_now("ip", BAD, now=NOON, patience=timedelta(seconds=0.3))
    assert time.monotonic() - began < 1.5
    assert (ran.asked, ran.late, late) == (1, 1, {slow.pk})
    waiting = Listing.objects.get(blocklist=slow)
    assert (waiting.result, waiting.claim, waiting.due_at) == ("", "", NOON)
    assert blocklists.due_shards(now=NOON) == [waiting.shard]


def test_a_pair_that_somebody_asks_is_not_asked_by_another(rig: Rig) -> None:
    row = rig.script("own.test", listing(REVERSED))
    listed = Listing.objects.create(
        blocklist=row, kind="ip", subject=BAD, shard=1, due_at=NOON, claim="x", claimed_until=NOON + LATER / 10
    )
    assert blocklists.check_now("ip", BAD, now=NOON) == (blocklists.Ran(), {row.pk})
    assert blocklists.check_due(1, now=NOON).asked == 0
    assert rig.scripted.asked == []
    # Whoever held it died: after the claim's time it is asked.
    assert blocklists.check_due(1, now=NOON + LATER).asked == 1
    listed.refresh_from_db()
    assert listed.claim == ""


def test_advice_comes_by_tier_and_weight_with_the_links(rig: Rig) -> None:
    rig.list("bl.test", tier="C", name="c", weight=0.9)
    rig.list("bl.test", tier="A", name="a", weight=0.5)
    rig.list("bl.test", tier="A", name="b", weight=1.0)
    rig.list("bl.test", kind="allow_ip", name="allowed", weight=-0.5)
    look(BAD, 2)
    advice = blocklist_queries.advice(blocklist_queries.of_subject("ip", BAD))
    assert [entry.blocklist for entry in advice] == ["b", "a", "c"]
    assert advice[0].sentence.endswith("https://bl.test/remove")
    assert blocklist_queries.counts() == {("ip", "A"): 2, ("ip", "C"): 1}
