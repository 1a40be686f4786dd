"""Blocklists, pure: the name to ask, what an answer means, when it is believed."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reputation.domain.dnsbl import (
    Code,
    ErrorKind,
    Match,
    Reading,
    Result,
    Severity,
    Zone,
    ZoneKind,
    canaries,
    dead_pattern,
    is_public,
    query_name,
)
from reputation.domain.dnsbl_advice import Advice, ordered
from reputation.domain.dnsbl_belief import Belief, State, judge, kept_until, next_look
from reputation.domain.dnsbl_reading import canary_verdict, failed, read

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ZEN = Zone(
    "zen",
    "zen.test",
    families=frozenset({4, 6}),
    listed={
        "127.0.0.2": Code("spam source", Severity.CRITICAL, "SBL"),
        "127.0.0.10": Code("range that must not send: configuration, not behaviour", Severity.HIGH, "PBL"),
    },
    not_listed={"127.0.0.200": "good sender", "127.0.1.255": "error: an IP address was queried"},
)
SURBL = Zone(
    "surbl",
    "multi.test",
    ZoneKind.DOMAIN,
    Match.BITMASK,
    bits={8: Code("phishing", Severity.HIGH, "PH"), 64: Code("spam", Severity.MEDIUM, "ABUSE")},
    informational_bits={4: "DM", 32: "CT"},
    not_listed={"127.0.0.1": "error: blocked / over limit"},
)
LISTED, CLEAN = Reading(Result.LISTED, codes=("127.0.0.2",)), Reading(Result.CLEAN)
ERROR = failed(ErrorKind.TIMEOUT)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("192.0.2.99", "99.2.0.192.bl.test"),
        # RFC 5782 section 2.4's own example.
        (
            "2001:db8:1:2:3:4:567:89ab",
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.test",
        ),
        ("::ffff:7f00:2", "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.test"),
        ("shop.example", "shop.example.bl.test"),
    ],
)
def test_ips_are_asked_backwards_and_domains_as_they_are(subject: str, name: str) -> None:
    assert query_name(subject, "bl.test") == name


@pytest.mark.parametrize("subject", ["", "[192.0.2.1]"])
def test_an_address_literal_is_asked_nowhere(subject: str) -> None:
    with pytest.raises(ValueError, match="Neither"):
        query_name(subject, "bl.test")


def test_a_list_takes_only_what_it_lists() -> None:
    assert ZEN.takes("192.0.2.1")
    assert ZEN.takes("2001:db8::1")
    assert not ZEN.takes("shop.example")
    assert not Zone("v4", "v4.test").takes("2001:db8::1")
    assert SURBL.takes("shop.example")
    # "Never query with an IP address" (Spamhaus DBL).
    assert not SURBL.takes("192.0.2.1")
    assert not SURBL.takes("[192.0.2.1]")


@pytest.mark.parametrize("subject", ["10.1.2.3", "172.31.0.1", "192.168.1.1", "127.0.0.1", "fe80::1", "fd00::1", "::1"])
def test_private_addresses_are_nobodys_business(subject: str) -> None:
    assert not is_public(subject)
    assert is_public("192.0.2.1")
    assert is_public("2001:db8::1")


@pytest.mark.parametrize("outcome", ["nxdomain", "nodata"])
def test_no_such_name_is_clean(outcome: str) -> None:
    assert read(ZEN, outcome, ()) == CLEAN


@pytest.mark.parametrize("outcome", ["servfail", "refused", "timeout", "network", "bad"])
def test_no_answer_is_an_error_and_never_clean(outcome: str) -> None:
    reading = read(ZEN, outcome, ())
    assert (reading.result, reading.error) == (Result.ERROR, ErrorKind(outcome))


def test_a_listing_says_which_sublists_and_the_worst_severity() -> None:
    reading = read(ZEN, "answer", ["127.0.0.10", "127.0.0.2"])
    assert reading.result is Result.LISTED
    assert reading.codes == ("127.0.0.2", "127.0.0.10")
    assert reading.sublists == ("SBL", "PBL")
    assert reading.severity is Severity.CRITICAL


@pytest.mark.parametrize("code", ["127.255.255.252", "127.255.255.254", "127.255.255.255", "127.255.255.1"])
@pytest.mark.parametrize("match", list(Match))
def test_you_may_not_ask_is_no_listing_whatever_the_list_is(code: str, match: Match) -> None:
    reading = read(Zone("any", "any.test", match=match), "answer", [code])
    assert (reading.result, reading.error) == (Result.ERROR, ErrorKind.BLOCKED)
    # Neither is it one when a listing comes beside it.
    assert read(ZEN, "answer", ["127.0.0.2", code]).error is ErrorKind.BLOCKED


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        (["127.0.0.77"], ErrorKind.UNKNOWN_CODE),
        (["203.0.113.80"], ErrorKind.OUTSIDE),
        (["127.0.0.2", "203.0.113.80"], ErrorKind.OUTSIDE),
        (["127.0.1.255"], ErrorKind.BLOCKED),
        (["rubbish"], ErrorKind.OUTSIDE),
    ],
)
def test_an_answer_that_nobody_documents_is_an_error(codes: list[str], error: ErrorKind) -> None:
    assert read(ZEN, "answer", codes).error is error


def test_an_unknown_code_beside_a_known_one_leaves_the_known_one() -> None:
    assert read(ZEN, "answer", ["127.0.0.2", "127.0.0.77"]).result is Result.LISTED


def test_an_answer_may_be_praise() -> None:
    reading = read(ZEN, "answer", ["127.0.0.200"])
    assert (reading.result, reading.detail) == (Result.CLEAN, "good sender")


def test_bits_are_lists_of_their_own() -> None:
    both = read(SURBL, "answer", ["127.0.0.72"])
    assert (both.result, both.meaning, both.severity) == (Result.LISTED, "phishing; spam", Severity.HIGH)
    assert both.sublists == ("PH, ABUSE",)
    assert read(SURBL, "answer", ["127.0.0.36"]).result is Result.CLEAN
    assert read(SURBL, "answer", ["127.0.0.1"]).error is ErrorKind.BLOCKED
    assert read(SURBL, "answer", ["127.0.0.2"]).error is ErrorKind.UNKNOWN_CODE
    assert read(SURBL, "answer", ["127.0.1.8"]).error is ErrorKind.UNKNOWN_CODE


def test_an_allow_list_tells_how_much_it_trusts() -> None:
    dnswl = Zone("dnswl", "list.test", ZoneKind.ALLOW_IP, Match.DNSWL, not_listed={"127.0.0.255": "error: over limit"})
    reading = read(dnswl, "answer", ["127.0.5.3"])
    assert (reading.result, reading.meaning, reading.severity) == (Result.LISTED, "trust high", Severity.INFO)
    assert read(dnswl, "answer", ["127.0.0.255"]).error is ErrorKind.BLOCKED
    assert read(dnswl, "answer", ["127.0.5.9"]).error is ErrorKind.UNKNOWN_CODE


def test_a_list_is_asked_about_its_own_test_points_else_those_of_the_rfc() -> None:
    assert canaries(ZEN, 4) == ("127.0.0.2", "127.0.0.1")
    assert canaries(ZEN, 6) == ("::ffff:7f00:2", "::ffff:7f00:1")
    assert canaries(SURBL, None) == ("TEST", "INVALID")
    own = Zone("own", "own.test", test_listed=("127.0.0.9", "::ffff:7f00:9", "test.own.test"))
    assert [canaries(own, family)[0] for family in (4, 6, None)] == ["127.0.0.9", "::ffff:7f00:9", "test.own.test"]


@pytest.mark.parametrize(
    ("listed", "clear", "error"),
    [
        (LISTED, CLEAN, None),
        (read(ZEN, "answer", ["127.0.0.77"]), CLEAN, None),
        (CLEAN, CLEAN, ErrorKind.CANARY),
        (LISTED, LISTED, ErrorKind.CANARY),
        (LISTED, read(ZEN, "answer", ["127.0.0.77"]), ErrorKind.CANARY),
        (failed(ErrorKind.REFUSED), CLEAN, ErrorKind.REFUSED),
        (LISTED, ERROR, ErrorKind.TIMEOUT),
        (read(ZEN, "answer", ["127.255.255.254"]), CLEAN, ErrorKind.BLOCKED),
        (read(ZEN, "answer", ["203.0.113.80"]), CLEAN, ErrorKind.OUTSIDE),
    ],
)
def test_a_list_is_believed_only_when_it_lists_its_test_point_and_nothing_else(
    listed: Reading, clear: Reading, error: ErrorKind | None
) -> None:
    verdict = canary_verdict(ZEN, listed, clear)
    assert (verdict.error if verdict else None) is error


def play(*readings: Reading) -> tuple[Belief, list[int]]:
    """The belief at the end, and the looks (from 1) that changed it."""
    belief, changes = Belief(), []
    for number, reading in enumerate(readings, 1):
        belief, changed = judge(belief, reading)
        if changed:
            changes.append(number)
    return belief, changes


def test_a_listing_is_believed_when_it_was_seen_twice_and_told_once() -> None:
    belief, changes = play(LISTED, LISTED, LISTED, LISTED)
    assert (belief.state, changes) == (State.LISTED, [2])


def test_a_delisting_is_believed_when_it_was_seen_twice() -> None:
    belief, changes = play(LISTED, LISTED, CLEAN, CLEAN, CLEAN)
    assert (belief.state, changes) == (State.CLEAN, [2, 4])


def test_an_error_changes_nothing_neither_the_belief_nor_what_was_counted() -> None:
    assert play(ERROR, ERROR, ERROR) == (Belief(), [])
    assert play(LISTED, ERROR, ERROR, LISTED)[1] == [4]
    assert play(LISTED, LISTED, ERROR, ERROR, ERROR)[0].state is State.LISTED


def test_a_flapping_list_tells_nothing() -> None:
    assert play(CLEAN, *([LISTED, CLEAN] * 10))[1] == []
    assert play(LISTED, LISTED, *([CLEAN, LISTED] * 10))[1] == [2]


def test_the_first_clean_answer_is_believed_and_is_no_change() -> None:
    assert play(CLEAN) == (Belief(State.CLEAN), [])


def test_an_answer_is_kept_for_its_ttl_within_bounds() -> None:
    kept = {ttl: kept_until(CLEAN, ttl, NOW) - NOW for ttl in (0, 600, 999_999)}
    assert kept == {0: timedelta(minutes=1), 600: timedelta(minutes=10), 999_999: timedelta(hours=4)}
    assert kept_until(ERROR, 999, NOW) - NOW == timedelta(minutes=1)


def test_what_waits_for_its_confirmation_comes_sooner_but_never_out_of_a_cache() -> None:
    every = timedelta(hours=4)

    def look(belief: Belief, reading: Reading, ttl: int = 60, failures: int = 0) -> timedelta:
        kept = kept_until(reading, ttl, NOW)
        return next_look(belief, reading, kept=kept, failures=failures, every=every, now=NOW) - NOW

    waiting = Belief(State.CLEAN, State.LISTED, 1)
    assert look(Belief(State.CLEAN), CLEAN) == every
    assert look(waiting, LISTED) == timedelta(minutes=5)
    assert look(waiting, LISTED, ttl=1800) == timedelta(minutes=30)
    assert [look(waiting, ERROR, failures=count) for count in (1, 2, 3, 20)] == [
        timedelta(minutes=5),
        timedelta(minutes=10),
        timedelta(minutes=20),
        every,
    ]


def test_advice_comes_in_the_order_of_tier_and_weight() -> None:
    def entry(name: str, tier: str, weight: float) -> Advice:
        return Advice(name, "op", tier, weight, ("SBL",), "spam source", Severity.HIGH, "https://x.test/", "by hand")

    found = ordered([entry("c", "C", 0.9), entry("b2", "B", 0.3), entry("a", "A", 0.1), entry("b1", "B", 0.5)])
    assert [advice.blocklist for advice in found] == ["a", "b1", "b2", "c"]
    assert found[0].sentence == "a (SBL): spam source. By hand. When the cause is mended: https://x.test/"


@pytest.mark.parametrize(
    ("zone", "dead"),
    [
        ("dnsbl.sorbs.net", "*.sorbs.net"),
        ("sorbs.net", "*.sorbs.net"),
        ("Spam.DNSBL.Sorbs.net.", "*.sorbs.net"),
        ("ix.dnsbl.manitu.net", "ix.dnsbl.manitu.net"),
        ("sorbs.net.example", ""),
        ("notsorbs.net", ""),
    ],
)
def test_a_dead_zone_is_known_by_its_pattern(zone: str, dead: str) -> None:
    assert dead_pattern(zone, {"*.sorbs.net": "gone", "ix.dnsbl.manitu.net": "gone"}) == dead


def test_the_shipped_lists_can_be_read_and_none_of_them_is_dead() -> None:
    data = tomllib.loads((Path(__file__).parents[2] / "reputation/data/blocklists.toml").read_text(encoding="utf-8"))
    dead = {entry["pattern"]: entry["why"] for entry in data["dead"]}
    assert (len(data["list"]), len(dead)) == (22, 17)
    for entry in data["list"]:
        assert entry["source"]
        ZoneKind(entry["kind"])
        Match(entry["match"])
        for suffix in (entry["zone"], entry.get("keyed_zone", "")):
            assert not dead_pattern(suffix, dead)
        for code in (*entry.get("listed", {}).values(), *entry.get("bits", {}).values()):
            assert Severity(code["severity"])
            assert code["meaning"]
