"""Prometheus' text format is read as it is defined, and nothing else is taken for it."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.domain.completeness import Increase, Line, increase
from telemetry.domain.errors import ParseError
from telemetry.domain.prometheus_text import counters
from telemetry.domain.web_address import is_public, web_address

PAGE = r"""
# HELP delivery_delivered Message delivered
# TYPE delivery_delivered counter
delivery_delivered 4294967290
delivery_dsn_perm_fail 3 1763640000123
  queue_count{name="a\"b}{ 1",kind="x"}	7
total{provider="gmail"} 2
total{provider="yahoo",} 3e0
temperature NaN
floor -Inf
"""
NAMES = ("delivery_delivered", "delivery_dsn_perm_fail", "queue_count", "total", "delivery_rcpt_to_rejected")


def test_counters_are_read_and_summed_over_their_labels() -> None:
    assert counters(PAGE, NAMES) == {
        "delivery_delivered": 4294967290,
        "delivery_dsn_perm_fail": 3,
        "queue_count": 7,
        "total": 5,
    }
    assert counters(PAGE.replace("\n", "\r\n"), NAMES) == counters(PAGE, NAMES)


def test_a_page_without_a_counter_says_nothing() -> None:
    assert counters("", NAMES) == counters("# nothing yet\n\n", NAMES) == {}


@pytest.mark.parametrize(
    "line",
    [
        "<html>",
        "delivery_delivered",
        "delivery_delivered five",
        "delivery_delivered 1_000",
        "delivery_delivered{a=b} 5 x",
        'delivery_delivered{a="b 5',
        "9lives 5",
        "delivery_delivered 5 6 7",
        "delivery_delivered -1",
        "delivery_delivered NaN",
        "delivery_delivered +Inf",
        "delivery_delivered 1e300",
        "größe 5",
    ],
)
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(ParseError) as caught:
        counters(f"# fine\n{line}\n", NAMES)
    assert caught.value.field == "line 2"


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    with suppress(ParseError):
        assert all(value >= 0 for value in counters(text, NAMES).values())


def test_a_hostile_line_costs_no_more_than_its_length() -> None:
    began = time.monotonic()
    for line in ("a" + " " * 500_000 + "{", 'a{"' + "\\" * 500_000, "a{" + '"x"' * 150_000, "a" * 500_000):
        with pytest.raises(ParseError):
            counters(line, NAMES)
    assert time.monotonic() - began < 2


def test_an_increase_is_the_difference_and_a_missing_name_is_a_zero() -> None:
    before = {"delivery_delivered": 10, "delivery_rcpt_to_rejected": 2}
    after = {"delivery_delivered": 15, "delivery_rcpt_to_rejected": 2, "delivery_message_rejected": 1}
    assert increase(before, after) == Increase(delivered=5, refused=1)
    assert increase({}, after) == Increase(delivered=15, refused=3)


def test_a_smaller_value_is_a_restart_and_its_value_the_increase() -> None:
    before = {"delivery_delivered": 10, "delivery_dsn_perm_fail": 4}
    assert increase(before, {"delivery_delivered": 3}) == Increase(delivered=3, restarted=True)
    wrapped = increase({"delivery_delivered": 2**32 - 5}, {"delivery_delivered": 7})
    assert wrapped == Increase(delivered=7, restarted=True)


def test_attempts_that_ended_are_never_fewer_than_those_known_to_have_failed() -> None:
    assert Increase(delivered=90, refused=2, bounced=1).ended(failed=10) == 100
    assert Increase(delivered=90, refused=12, bounced=1).ended(failed=10) == 102


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1"),
        *("2002:a00:1::1", "64:ff9b::7f00:1", "2001:db8::1", "192.0.2.1"),
    ],
)
def test_what_only_this_machine_may_reach_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00:1450:4001:80e::200e", "64:ff9b::808:808"])
def test_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_a_share_has_a_denominator_and_is_never_above_one() -> None:
    def share(server: int, arrived: int) -> float | None:
        then = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        return Line(then, then, server_delivered=server, arrived_delivered=arrived).delivered_share

    assert (share(1000, 992), share(10, 11), share(0, 0), share(5, 0)) == (0.992, 1.0, None, 0.0)


def test_a_web_address_is_taken_apart() -> None:
    found = web_address("https://[2a00::1]:8443/metrics?x=1#here", "url")
    assert (found.scheme, found.host, found.port, found.path) == ("https", "2a00::1", 8443, "/metrics?x=1")
    plain = web_address("http://mta-1", "url")
    assert (plain.host, plain.port, plain.path) == ("mta-1", 80, "/")


@pytest.mark.parametrize(
    "url",
    [
        *("", "mta-1/metrics", "ftp://mta-1/", "file:///etc/passwd", "http://", "http://:80/", "http://mta-1:0/"),
        *("http://mta-1:99999/", "http://a:b@mta-1/", "http://mta-1/a b", "http://mta-1/\r\nX: y", "http://mta-1/ä"),
        *("http://[::1/", "http://mta-1/" + "x" * 600),
    ],
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(ParseError):
        web_address(url, "url")
