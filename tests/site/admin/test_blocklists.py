"""Blocklists in the admin: edited and tried by those who may, their key never to be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from reputation.models import AuditEntry, Blocklist, BlocklistCanary, Listing
from tests.dns_servers import Scripted, listing
from tests.reputation.blocklist_rig import BAD, TABLE, look, quick
from tests.site.admin.conftest import button, change, changelist, messages_of, text

pytestmark = pytest.mark.django_db
KEY = "s3cret-key"


@pytest.fixture
def server() -> Iterator[Scripted]:
    rules = {f"{KEY}.own.test": listing("66.2.0.192"), "own.test": listing("66.2.0.192")}
    with Scripted(rules) as scripted, quick():
        Blocklist.objects.update(is_enabled=False)
        yield scripted


def form(server: Scripted, **given: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "operator": "us",
        "kind": "ip",
        "zone": "own.test",
        "tier": "A",
        "weight": "1",
        "ipv4": "on",
        "is_enabled": "on",
        "match": "exact",
        "listed": '{"127.0.0.2": {"meaning": "spam"}}',
        "not_listed": "{}",
        "bits": "{}",
        "informational_bits": "{}",
        "test_listed": "[]",
        "test_clear": "[]",
        "resolver": server.address[0],
        "resolver_port": server.port,
        "queries_per_second": "1000",
        "check_every": "04:00:00",
        **given,
    }


def test_a_list_is_added_and_tried_and_its_key_is_on_no_page(server: Scripted, as_root: Client) -> None:
    given = form(server, keyed_zone="{key}.own.test", new_key=KEY)
    answer = as_root.post(button("reputation_blocklist_add"), given)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    row = Blocklist.objects.get(name="own")
    assert row.key == KEY
    try_now = button("reputation_blocklist_try_now", row.pk)
    assert as_root.get(try_now).status_code == 200
    assert server.asked == [], "a page that is only looked at asks nothing"
    assert "it lists its test point" in messages_of(as_root.post(try_now, follow=True))[0]
    assert all(name.endswith(f".{KEY}.own.test") for name, _, _ in server.asked)
    look(BAD, 2)
    pages = [
        text(as_root.get(url))
        for url in (
            change(row),
            changelist(Blocklist),
            changelist(BlocklistCanary),
            changelist(Listing),
            change(Listing.objects.get()),
            changelist(AuditEntry),
        )
    ]
    assert KEY not in "".join(pages)
    assert "passed" in pages[1]
    assert "{key}.own.test" in pages[1]


def test_a_key_stays_until_it_is_cleared_or_would_go_elsewhere(server: Scripted, as_root: Client) -> None:
    as_root.post(button("reputation_blocklist_add"), form(server, keyed_zone="{key}.own.test", new_key=KEY))
    row = Blocklist.objects.get(name="own")

    def saved(**given: str) -> str:
        answered = as_root.post(change(row), form(server, **given))
        assert answered.status_code == 302, answered.context["adminform"].form.errors
        return Blocklist.objects.get(name="own").key

    assert saved(keyed_zone="{key}.own.test", tier="B") == KEY
    assert saved(keyed_zone="{key}.elsewhere.test") == ""
    assert saved(keyed_zone="{key}.own.test", new_key=KEY) == KEY
    assert saved(keyed_zone="{key}.own.test", clear_key="on") == ""


@pytest.mark.parametrize("zone", ["dnsbl.sorbs.net", "bl.spamcannibal.org", "relays.ordb.org"])
def test_a_dead_zone_is_refused_by_the_form(server: Scripted, as_root: Client, zone: str) -> None:
    answer = as_root.post(button("reputation_blocklist_add"), form(server, zone=zone))
    assert "dead and must not be asked" in str(answer.context["adminform"].form.errors["zone"])
    assert not Blocklist.objects.filter(name="own").exists()


def test_a_sender_is_looked_up_from_its_row_by_whoever_may_act(
    server: Scripted, as_root: Client, as_viewer: Client
) -> None:
    Blocklist.objects.create(
        name="own", zone="own.test", listed=TABLE, resolver=server.address[0], resolver_port=server.port
    )
    look("192.0.2.10")
    row = Listing.objects.get()
    Listing.objects.update(fresh_until=None)
    server.asked.clear()
    look_up = button("reputation_listing_look_up_now", row.pk)
    assert as_viewer.post(look_up).status_code == 403
    assert server.asked == []
    assert messages_of(as_root.post(look_up, follow=True)) == ["1 lists were asked, 0 changes are believed."]
    chosen = {"action": "look_up_selected", "_selected_action": [row.pk]}
    as_root.post(changelist(Listing), chosen)
    row.refresh_from_db()
    assert row.due_at <= timezone.now()
