"""The shared DNS client against real servers: what it says of each way a question can end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta

import dns.rcode
import pytest
from django.test import override_settings

from reputation.dns_lookups import Answer, Client, Kind, default_servers
from tests.dns_servers import (
    Knot,
    Rbldnsd,
    Scripted,
    answering,
    delayed,
    dropped,
    failing,
    free_udp_port,
    listing,
    refused,
    servfail,
    truncated,
    why_not,
)

TRY = timedelta(seconds=0.3)


@pytest.fixture(scope="module")
def knot() -> Iterator[Knot]:
    if why := why_not("knotd"):
        pytest.skip(why)
    records = """
@ TXT "v=spf1 " "-all"
mail A 192.0.2.10
alias CNAME mail
two A 192.0.2.1
two A 192.0.2.2
""" + "".join(f'big TXT "{number:03d}{"x" * 200}"\n' for number in range(20))
    with Knot({"good.test": records}) as server:
        yield server


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    rules = {
        "drop.test": dropped,
        "servfail.test": servfail,
        "refused.test": refused,
        "notimp.test": failing(dns.rcode.NOTIMP),
        "late.test": delayed(0.15, listing("a")),
        "cut.test": truncated(answering({"a": {"TXT": ['"whole"']}})),
    }
    with Scripted(rules) as server:
        yield server


def ask(server: tuple[str, int], name: str, rdtype: str = "A", **options: object) -> Answer:
    given = {"timeout": TRY, "retries": 1, "most_sockets": 4, **options}
    return asyncio.run(Client([server], **given).ask(name, rdtype))  # type: ignore[arg-type]


def test_records_come_as_text_with_their_ttl_and_txt_strings_joined(knot: Knot) -> None:
    assert ask(knot.address, "good.test", "TXT").records == ("v=spf1 -all",)
    answer = ask(knot.address, "two.good.test")
    assert (answer.kind, set(answer.records), answer.ttl) == (Kind.ANSWER, {"192.0.2.1", "192.0.2.2"}, 60)
    assert answer.took > 0


def test_an_alias_is_followed(knot: Knot) -> None:
    assert ask(knot.address, "alias.good.test").records == ("192.0.2.10",)


def test_no_such_name_and_no_such_record_are_two_things_and_both_say_how_long_they_hold(knot: Knot) -> None:
    assert ask(knot.address, "nobody.good.test") == Answer(Kind.NXDOMAIN, (), 60, pytest.approx(0, abs=1))
    assert ask(knot.address, "mail.good.test", "TXT") == Answer(Kind.NODATA, (), 60, pytest.approx(0, abs=1))


def test_what_does_not_fit_a_packet_comes_over_tcp(knot: Knot, scripted: Scripted) -> None:
    assert len(ask(knot.address, "big.good.test", "TXT").records) == 20
    scripted.asked.clear()
    assert ask(scripted.address, "a.cut.test", "TXT").records == ("whole",)
    assert [how for _, _, how in scripted.asked] == ["udp", "tcp"]


@pytest.mark.parametrize(
    ("name", "kind", "asked"),
    [
        ("a.servfail.test", Kind.SERVFAIL, 1),
        ("a.refused.test", Kind.REFUSED, 1),
        ("a.notimp.test", Kind.BAD, 1),
        ("a.drop.test", Kind.TIMEOUT, 2),
        ("a.late.test", Kind.ANSWER, 1),
    ],
)
def test_every_failure_has_its_kind_and_only_silence_is_asked_again(
    scripted: Scripted, name: str, kind: Kind, asked: int
) -> None:
    scripted.asked.clear()
    assert ask(scripted.address, name).kind is kind
    assert len(scripted.asked) == asked


def test_a_closed_port_is_known_at_once() -> None:
    began = time.monotonic()
    assert ask(("127.0.0.1", free_udp_port()), "a.test").kind is Kind.NETWORK
    assert time.monotonic() - began < TRY.total_seconds()


@pytest.mark.parametrize("name", ["a..test", "x" * 64 + ".test", ".".join(["label"] * 60), "\ud800.test"])
def test_a_name_that_cannot_be_asked_is_an_outcome_and_no_exception(name: str) -> None:
    assert ask(("127.0.0.1", 9), name).kind is Kind.BAD


def test_another_server_is_asked_where_the_first_cannot_say(scripted: Scripted, knot: Knot) -> None:
    client = Client([scripted.address, knot.address], timeout=TRY, retries=0, most_sockets=4)
    assert asyncio.run(client.ask("mail.good.test", "A")).records == ("192.0.2.10",)


def test_never_more_sockets_are_open_than_allowed(scripted: Scripted) -> None:
    client = Client([scripted.address], timeout=timedelta(seconds=2), retries=0, most_sockets=5)

    async def many() -> list[Answer]:
        return await asyncio.gather(*(client.ask("a.late.test", "A") for _ in range(20)))

    began = time.monotonic()
    assert {answer.kind for answer in asyncio.run(many())} == {Kind.ANSWER}
    assert client.most_open == 5
    # Four rounds of 0.15 s: five at a time, and no faster.
    assert time.monotonic() - began >= 0.6


def test_rbldnsd_answers_too() -> None:
    if why := why_not("rbldnsd"):
        pytest.skip(why)
    with Rbldnsd({"bl.test": ("ip4set", ":127.0.0.2:Listed: $\n192.0.2.66\n127.0.0.2")}) as server:
        assert ask(server.address, "66.2.0.192.bl.test").records == ("127.0.0.2",)
        assert ask(server.address, "66.2.0.192.bl.test", "TXT").records == ("Listed: 192.0.2.66",)
        assert ask(server.address, "67.2.0.192.bl.test").kind is Kind.NXDOMAIN


def test_the_settings_say_whom_to_ask_else_the_system() -> None:
    with override_settings(DNS_SERVERS=(("192.0.2.53", 5353),)):
        assert default_servers() == (("192.0.2.53", 5353),)
    with override_settings(DNS_SERVERS=()):
        assert all(port == 53 for _, port in default_servers())
