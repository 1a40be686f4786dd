"""From where a request came, and what a network is."""

from __future__ import annotations

import pytest

from telemetry.domain.addresses import address, client_of, is_within, networks
from telemetry.domain.errors import ParseError

PROXIES = networks(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        # Who is no proxy of ours may write what it likes.
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # The client wrote the first one itself; our proxies appended the rest.
        ("10.0.0.1", "192.0.2.66, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("10.0.0.1", "[2001:db8::5]:4711", "2001:db8::5"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # Nothing that can be read: the last one that is known stands.
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
    ],
)
def test_the_client_is_the_last_that_a_trusted_proxy_was_called_by(peer: str, forwarded: str, client: str) -> None:
    assert str(client_of(peer, forwarded, PROXIES)) == client


def test_without_trusted_proxies_the_header_says_nothing() -> None:
    assert str(client_of("10.0.0.1", "198.51.100.1", ())) == "10.0.0.1"
    assert client_of("", "198.51.100.1", PROXIES) is None


@pytest.mark.parametrize("bad", ["10.0.0.5/8", "nonsense", "300.1.1.1", "", "10.0.0.0/33", "2001:db8::/129"])
def test_a_network_that_is_none_is_named(bad: str) -> None:
    with pytest.raises(ParseError) as raised:
        networks(["192.0.2.0/24", bad])
    assert repr(bad) in raised.value.message


@pytest.mark.parametrize("bad", ["192.0.2.0/24", {"a": 1}, None, [7]])
def test_a_list_that_is_none_is_refused(bad: object) -> None:
    with pytest.raises(ParseError):
        networks(bad)


def test_an_ipv4_address_over_ipv6_is_the_ipv4_address() -> None:
    place = address("::ffff:192.0.2.7")
    assert place is not None
    assert is_within(place, networks(["192.0.2.0/24"]))
    assert not is_within(place, networks(["192.0.3.0/24", "::/0"]))
