"""An alert goes to the address that was checked, whatever the name server says a moment later. Asked of a real one."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dns.message
import dns.resolver
import pytest

from tests.dns_servers import Rule, Scripted, answering
from tests.reputation.alert_rig import Web, web
from tests.reputation.test_alert_channels import trouble

pytestmark = pytest.mark.one_database
# Public by the registry of special addresses, and nobody's server: an anycast address for port mapping (RFC 7723).
PUBLIC = "192.0.0.9"
_connected: list[tuple[str, int]] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _connected is not None and isinstance(arguments[1], tuple):
        _connected.append(arguments[1][:2])
        if arguments[1][0] == PUBLIC:
            # Seen is enough: no packet of a test leaves this machine.
            raise ConnectionRefusedError


sys.addaudithook(_watch)


@contextmanager
def connections() -> Iterator[list[tuple[str, int]]]:
    """Every address that this process connects to in the block, as the interpreter itself reports it."""
    global _connected
    _connected = []
    try:
        yield _connected
    finally:
        _connected = None


@contextmanager
def names(**rules: Rule) -> Iterator[Scripted]:
    """The process asks this server for names, as it otherwise asks the system's."""
    zones = {name.replace("_", "."): rule for name, rule in rules.items()}
    with Scripted(zones) as server:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port, resolver.lifetime = [server.address[0]], server.port, 5
        resolver.cache = None
        dns.resolver.override_system_resolver(resolver)
        try:
            yield server
        finally:
            dns.resolver.restore_system_resolver()


def first_public_then(second: str) -> Rule:
    """The first answer about an A record is public, every later one is not."""
    asked = []

    def rule(query: dns.message.Message, name: str, tcp: bool) -> tuple[float, dns.message.Message | None]:
        if dns.rdatatype.to_text(query.question[0].rdtype) == "A":
            asked.append(name)
        address = PUBLIC if len(asked) <= 1 else second
        return answering({"": {"A": [address]}}, ttl=0)(query, name, tcp)

    return rule


@pytest.fixture
def hook() -> Iterator[Web]:
    with web() as seen:
        yield seen


@pytest.mark.parametrize("address", ["http://rebind.test:{port}/hook", "gotify://rebind.test:{port}/abcdefghijklmno"])
def test_a_second_answer_of_the_name_server_changes_nothing(hook: Web, address: str) -> None:
    with names(rebind_test=first_public_then("127.0.0.1")) as server, connections() as made:
        assert trouble(address.format(port=hook.port)) == "unreachable"
    assert [kind for name, kind, _ in server.asked if name == "rebind.test"].count("A") == 1
    assert {place for place in made if place[1] == hook.port} == {(PUBLIC, hook.port)}
    assert hook.got == []


def test_the_server_would_have_been_reached_by_who_asks_twice(hook: Web) -> None:
    """What the claim above is about: the second answer is the private one, and somebody listens there."""
    with names(rebind_test=first_public_then("127.0.0.1")):
        assert socket.getaddrinfo("rebind.test", 80)[0][4][0] == PUBLIC
        urllib.request.urlopen(f"http://rebind.test:{hook.port}/hook", data=b"{}", timeout=5).close()
    assert len(hook.got) == 1


@pytest.mark.parametrize(
    "records",
    [
        {"A": ["127.0.0.1"]},
        {"A": ["10.0.0.7"]},
        {"A": ["169.254.169.254"]},
        {"AAAA": ["::1"]},
        {"AAAA": ["::ffff:127.0.0.1"]},
        {"A": [PUBLIC, "127.0.0.1"]},
        {"A": [PUBLIC], "AAAA": ["fd00::1"]},
    ],
    ids=str,
)
def test_a_name_that_leads_into_a_private_network_is_refused(hook: Web, records: dict[str, list[str]]) -> None:
    with names(inside_test=answering({"": records})), connections() as made:
        assert trouble(f"http://inside.test:{hook.port}/hook") == "private_address"
    assert [place for place in made if place[1] == hook.port] == []
    assert hook.got == []


def test_a_redirect_into_a_private_network_is_not_followed(hook: Web, settings: Any) -> None:
    """The public hook redirects to what only this machine can reach."""
    settings.ALLOW_PRIVATE_URLS = True  # loopback stands for the public hook here
    with web() as secret, names(hook_test=answering({"": {"A": ["127.0.0.1"]}})), connections() as made:
        hook.status, hook.location = 307, f"http://127.0.0.1:{secret.port}/latest/meta-data"
        assert trouble(f"http://hook.test:{hook.port}/hook") == "redirect"
        assert trouble(f"gotify://hook.test:{hook.port}/abcdefghijklmno") == "redirect"
        assert len(hook.got) == 2
        assert secret.got == []
        assert secret.port not in {port for _, port in made}
