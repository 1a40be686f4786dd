"""Blocklists on loopback: real servers, and the rows that ask them and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from reputation import blocklists
from reputation.models import Blocklist, Listing
from tests.conftest import NOON
from tests.dns_servers import Knot, Rbldnsd, Rule, Scripted, why_not

BAD, GOOD = "192.0.2.66", "192.0.2.10"
BAD6, GOOD6 = "2001:db8::66", "2001:db8::10"
BAD_DOMAIN, GOOD_DOMAIN = "spam.example", "good.example"
TABLE = {"127.0.0.2": {"meaning": "spam source", "severity": "critical", "sublist": "SBL"}}
LATER = timedelta(minutes=10)
_IP4 = f":127.0.0.2:Listed, see https://bl.test/$\n{BAD}\n127.0.0.2"
_IP6 = "@ TXT x\n" + "".join(
    f"{name} A 127.0.0.2\n"
    for name in (
        "2.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20,
        "6.6" + ".0" * 22 + ".8.b.d.0.1.0.0.2",
    )
)
_DOMAINS = f":127.0.0.2:Spam domain $\nTEST\n{BAD_DOMAIN}\n.wild.example"
_SURBL = f":127.0.0.64:Abuse $\n{BAD_DOMAIN}\ntest.surbl.test"
_EVERYTHING = "* A 127.0.0.2"
_REFUSING = "* A 127.255.255.254"


class Rig:
    """The servers, and lists that are asked there."""

    def __init__(self, rbldnsd: Rbldnsd, knot: Knot, scripted: Scripted) -> None:
        self.rbldnsd, self.knot, self.scripted = rbldnsd, knot, scripted

    def list(self, zone: str, server: Any = None, /, **fields: Any) -> Blocklist:
        """A list of that zone, asked at the server that has it; fields may say otherwise."""
        server = server or next(entry for entry in (self.rbldnsd, self.knot, self.scripted) if zone in _zones(entry))
        values = {
            "name": zone.partition(".")[0].replace(".", "-"),
            "operator": "The test",
            "zone": zone,
            "tier": "A",
            "weight": 1.0,
            "listed": TABLE,
            "resolver": server.address[0],
            "resolver_port": server.address[1],
            "queries_per_second": 1000,
            "delist_url": f"https://{zone}/remove",
            **fields,
        }
        return Blocklist.objects.create(**values)

    def script(self, zone: str, rule: Rule, /, **fields: Any) -> Blocklist:
        """A list whose server does as the rule says."""
        self.scripted.rules[zone] = rule
        return self.list(zone, self.scripted, **fields)


def _zones(server: Rbldnsd | Knot | Scripted) -> Any:
    return server.rules if isinstance(server, Scripted) else server.zones


@contextmanager
def servers() -> Iterator[Rig]:
    """Start the three."""
    if why := why_not("rbldnsd", "knotd"):
        pytest.skip(why)
    lists = {
        "bl.test": ("ip4set", _IP4),
        "keyed.bl.test": ("ip4set", _IP4),
        "dbl.test": ("dnset", _DOMAINS),
        "multi.test": ("dnset", _SURBL),
    }
    zones = {"bl6.test": _IP6, "everything.test": _EVERYTHING, "refusing.test": _REFUSING, "empty.test": ""}
    with ExitStack() as stack:
        rbldnsd = stack.enter_context(Rbldnsd(lists))
        knot = stack.enter_context(Knot(zones))
        scripted = stack.enter_context(Scripted({}))
        yield Rig(rbldnsd, knot, scripted)


@contextmanager
def quick() -> Iterator[None]:
    """Lists that do not answer are given up sooner than in production."""
    with override_settings(DNS_TIMEOUT=timedelta(seconds=0.2)):
        yield


def look(subject: str, times: int = 1, *, since: int = 0, kind: str = "ip") -> list[Listing]:
    """Ask every list so many times, some minutes apart; what is known then."""
    for number in range(since, since + times):
        blocklists.check_now(kind, subject, now=NOON + number * LATER)
    return list(Listing.objects.filter(subject=subject).select_related("blocklist").order_by("blocklist__name"))
