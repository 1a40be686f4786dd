"""Permits learn by MX who serves a recipient's domain; the first question does not wait for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest

from reputation.dns_lookups import Answer, Kind
from reputation.domain.permit import Ask
from reputation.models import SendingPolicy
from reputation.mx_hosts import MxHosts, first_host
from reputation.permit_facts import Books

RECORDS = {
    "hosted.example.": ["20 alt1.aspmx.l.google.com.", "10 ASPMX.L.google.com."],
    "own.example.": ["10 mail.own.example."],
    "null.example.": ["0 ."],
}


@contextmanager
def name_server() -> Iterator[tuple[tuple[str, int], list[str]]]:
    """A server that knows RECORDS; its address, and the names it was asked for."""
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    packet, client = wire.recvfrom(4096)
                except OSError:
                    return
                if packet == b"stop":
                    return
                query = dns.message.from_wire(packet)
                name = query.question[0].name.to_text()
                asked.append(name)
                reply = dns.message.make_response(query)
                if name in RECORDS:
                    reply.answer.append(dns.rrset.from_text(name, 600, "IN", "MX", *RECORDS[name]))
                else:
                    reply.set_rcode(dns.rcode.NXDOMAIN)
                wire.sendto(reply.to_wire(), client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield wire.getsockname(), asked
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(b"stop", wire.getsockname())
        thread.join()


@pytest.mark.django_db
def test_the_second_question_knows_the_provider_by_mx() -> None:
    assert SendingPolicy.objects.exists()
    books = Books()
    with name_server() as (server, asked):
        found = []
        for _ in range(2):
            book = books.current()
            for domain in ("hosted.example", "own.example", "null.example", "nowhere.example", "gmail.com"):
                ask = Ask("news@shop.example", f"someone@{domain}")
                found.append(book.provider_of(ask))
                if unknown := book.unknown_domain(ask):
                    books.mx.want(unknown)
            books.mx.learn((server,))
            books.forget()
    assert found[:5] == ["other", "other", "other", "other", "google"]
    assert found[5:] == ["google", "other", "other", "other", "google"]
    assert sorted(asked) == sorted([*RECORDS, "nowhere.example."])  # each once: answers are remembered


@pytest.mark.parametrize(
    ("records", "host"),
    [
        (("20 b.example.", "10 A.example."), "a.example"),
        (("0 .",), ""),
        ((), ""),
        (("nonsense",), ""),
    ],
)
def test_the_most_preferred_host_counts(records: tuple[str, ...], host: str) -> None:
    assert first_host(Answer(Kind.ANSWER, records)) == host


def test_a_server_that_does_not_answer_takes_nothing_away(settings: Any) -> None:
    hosts = MxHosts()
    with name_server() as (server, _):
        hosts.want("hosted.example")
        hosts.learn((server,))
    hosts._until.clear()
    hosts.want("hosted.example")
    assert hosts.learn((("127.0.0.1", 1),)) == 1
    assert hosts.known["hosted.example"] == "aspmx.l.google.com"
    hosts.want("hosted.example")
    assert hosts.learn() == 0  # not asked again at once
    settings.PERMIT_MX_LOOKUPS = False
    hosts.want("other.example")
    assert hosts.learn() == 0


def test_looking_up_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A name server that swallows questions: asking for more goes on meanwhile, by one thread at a time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        settings.DNS_SERVERS = (silent.getsockname(),)
        monkeypatch.setattr("reputation.mx_hosts.TIMEOUT", timedelta(seconds=0.2))
        hosts = MxHosts()
        before = threading.active_count()
        for number in range(5):
            hosts.want(f"d{number}.example")
            hosts.learn_behind()
        assert threading.active_count() <= before + 1
        for thread in threading.enumerate():
            if thread.name == "mx":
                thread.join(10)
        assert set(hosts._until) == {f"d{number}.example" for number in range(5)}
