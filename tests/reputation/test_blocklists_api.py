"""Blocklists as operators and their scripts meet them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from reputation import blocklists
from reputation.api import listings
from reputation.models import AuditEntry, Blocklist, Listing
from tests.dns_servers import Scripted, answering, delayed, listing
from tests.reputation.blocklist_rig import BAD, BAD_DOMAIN, TABLE, look, quick
from tests.reputation.test_breakers_api import Ask, caller

pytestmark = pytest.mark.django_db
LISTS = "/api/blocklists"
REVERSED = "66.2.0.192"


@pytest.fixture
def server() -> Iterator[Scripted]:
    rules = {
        "own.test": listing(REVERSED),
        "dbl.test": listing(BAD_DOMAIN),
        "liar.test": answering({"*": {"A": ["127.0.0.2"]}}),
    }
    with Scripted(rules) as scripted, quick():
        Blocklist.objects.update(is_enabled=False)
        yield scripted


def body(server: Scripted, zone: str = "own.test", **fields: Any) -> dict[str, Any]:
    return {
        "name": zone.partition(".")[0],
        "zone": zone,
        "listed": TABLE,
        "resolver": server.address[0],
        "resolver_port": server.port,
        "queries_per_second": 1000,
        "tier": "A",
        "delist_url": "https://own.test/remove",
        **fields,
    }


@pytest.fixture
def operator(django_user_model: type[User]) -> Ask:
    user = django_user_model.objects.create_user("otto", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["change_blocklist", "change_ipstanding"]))
    return caller(user)


@pytest.fixture
def viewer(django_user_model: type[User]) -> Ask:
    return caller(django_user_model.objects.create_user("vera", is_staff=True))


def test_an_ip_is_looked_up_on_demand_with_advice(server: Scripted, operator: Ask, viewer: Ask) -> None:
    assert operator("POST", LISTS, body(server)).status_code == 201
    assert viewer("POST", f"/api/ips/{BAD}/dnsbl-check").status_code == 403
    answer = operator("POST", f"/api/ips/{BAD}/dnsbl-check")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["complete"], told["listed"], told["subject"]) == (True, ["own"], BAD)
    (row,) = told["results"]
    assert (row["result"], row["state"], row["pending"], row["sublists"]) == ("listed", "unknown", "listed", ["SBL"])
    assert told["advice"][0]["delist_url"] == "https://own.test/remove"


def test_slow_lists_do_not_hold_up_the_answer(
    server: Scripted, operator: Ask, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.DNS_TIMEOUT = timedelta(seconds=10)
    monkeypatch.setattr(listings.check, "__kwdefaults__", {"patience": timedelta(seconds=0.5)})
    server.rules["slow.test"] = delayed(5, listing(REVERSED))
    for zone in ("own.test", "slow.test"):
        operator("POST", LISTS, body(server, zone))
    began = time.monotonic()
    told = operator("POST", f"/api/ips/{BAD}/dnsbl-check").json()
    assert time.monotonic() - began < 2
    assert told["complete"] is False
    assert {row["blocklist"]: (row["result"], row["error"], row["detail"]) for row in told["results"]} == {
        "own": ("listed", "", ""),
        "slow": ("error", "timeout", "No answer in time; it is still being asked"),
    }
    # Nothing was made up about it, and a worker asks on.
    waiting = Listing.objects.get(blocklist__name="slow")
    assert (waiting.result, waiting.claim) == ("", "")
    assert waiting.shard in blocklists.due_shards(now=waiting.due_at)


def test_an_answer_never_takes_longer_than_five_seconds() -> None:
    assert blocklists.PATIENCE.total_seconds() <= 5


def test_a_domain_is_looked_up_on_demand(server: Scripted, operator: Ask) -> None:
    operator("POST", LISTS, body(server, "dbl.test", kind="domain"))
    told = operator("POST", f"/api/domains/{BAD_DOMAIN}/dnsbl-check").json()
    assert (told["kind"], told["listed"]) == ("domain", ["dbl"])


@pytest.mark.parametrize(
    ("path", "field"), [("/api/ips/10.0.0.1/dnsbl-check", "ip"), ("/api/domains/[192.0.2.1]/dnsbl-check", "domain")]
)
def test_what_no_list_can_know_is_not_asked(server: Scripted, operator: Ask, path: str, field: str) -> None:
    answer = operator("POST", path)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    assert server.asked == []


def test_listings_and_their_changes_can_be_filtered(server: Scripted, operator: Ask, viewer: Ask) -> None:
    operator("POST", LISTS, body(server))
    look(BAD, 2)
    look("192.0.2.10")
    listed = viewer("GET", "/api/listings?state=listed").json()
    assert [(row["subject"], row["blocklist"]) for row in listed["results"]] == [(BAD, "own")]
    assert viewer("GET", "/api/listings").json()["count"] == 2
    assert viewer("GET", "/api/listings?tier=B").json()["count"] == 0
    assert viewer("GET", "/api/listings?stat=listed").status_code == 400
    (event,) = viewer("GET", f"/api/listings/events?subject={BAD}&to_state=listed").json()["results"]
    assert (event["from_state"], event["to_state"], event["tier"]) == ("unknown", "listed", "A")
    # What a list says that is not asked any more is not shown.
    Blocklist.objects.update(is_enabled=False)
    assert viewer("GET", "/api/listings").json()["count"] == 0


def test_a_list_is_added_changed_tried_and_deleted_and_its_key_is_never_answered(
    server: Scripted, operator: Ask, viewer: Ask
) -> None:
    made = operator("POST", LISTS, body(server, keyed_zone="{key}.own.test", key="s3cret"))
    assert made.status_code == 201
    url = f"{LISTS}/{made.json()['id']}"
    assert made.json()["has_key"] is True
    for answer in (made, viewer("GET", url), viewer("GET", LISTS)):
        assert "s3cret" not in answer.content.decode()
    assert viewer("PATCH", url, {"tier": "B"}).status_code == 403
    assert operator("PATCH", url, {"tier": "B"}).json()["has_key"] is True
    # A key does not follow to where somebody points the list.
    assert operator("PATCH", url, {"keyed_zone": "{key}.elsewhere.test"}).json()["has_key"] is False
    operator("PATCH", url, {"keyed_zone": ""})
    (verdict,) = operator("POST", f"{url}/test").json()
    assert (verdict["family"], verdict["is_good"]) == ("ipv4", True)
    assert AuditEntry.objects.filter(action="blocklist_changed", user__username="otto").count() == 3
    assert operator("DELETE", url).status_code == 204


def test_what_a_list_said_is_kept_and_a_shipped_list_too(server: Scripted, operator: Ask) -> None:
    url = f"{LISTS}/{operator('POST', LISTS, body(server)).json()['id']}"
    look(BAD, 2)
    assert operator("DELETE", url).status_code == 409
    shipped = Blocklist.objects.get(name="psbl")
    assert operator("DELETE", f"{LISTS}/{shipped.pk}").status_code == 409
    assert operator("PATCH", f"{LISTS}/{shipped.pk}", {"name": "mine"}).status_code == 400
    # It is switched off, so nobody asks it, not even to test it.
    assert operator("POST", f"{LISTS}/{shipped.pk}/test").status_code == 409


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"zone": "dnsbl.sorbs.net"}, "zone"),
        ({"zone": "bl.emailbasura.org"}, "zone"),
        ({"key": "two words"}, "key"),
        ({"listed": {"8.8.8.8": {"meaning": "x"}}}, "listed"),
        ({"check_every": "00:00:01"}, "check_every"),
        ({"shadow": 1}, "shadow"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_by_field(
    server: Scripted, operator: Ask, fields: dict[str, Any], field: str
) -> None:
    answer = operator("POST", LISTS, body(server, **fields))
    assert answer.status_code == 400
    assert {error["field"] for error in answer.json()["errors"]} == {field}
    assert not Blocklist.objects.filter(name="own").exists()


def test_a_list_that_names_everything_fails_its_test(server: Scripted, operator: Ask) -> None:
    url = f"{LISTS}/{operator('POST', LISTS, body(server, 'liar.test')).json()['id']}"
    (verdict,) = operator("POST", f"{url}/test").json()
    assert (verdict["is_good"], verdict["error"]) == (False, "canary")


def test_checks_are_counted_by_list_result_and_error(
    server: Scripted, operator: Ask, client: Any, django_capture_on_commit_callbacks: Any
) -> None:
    operator("POST", LISTS, body(server, name="counted"))
    operator("POST", LISTS, body(server, "liar.test", name="counted-liar"))
    with django_capture_on_commit_callbacks(execute=True):
        look(BAD, 2)
    page = client.get("/metrics").content.decode()
    assert 'dnsbl_checks_total{blocklist="counted",result="listed"} 2.0' in page
    assert 'dnsbl_errors_total{blocklist="counted-liar",error="canary"} 2.0' in page
    assert 'dnsbl_check_seconds_count{blocklist="counted"} 2.0' in page
    assert 'dnsbl_listings{kind="ip",tier="A"} 1.0' in page
    assert 'dnsbl_listing_changes_total{tier="A",to="listed"}' in page
