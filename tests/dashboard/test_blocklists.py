"""Who is on which blocklist is on the pages of the sender and on a page of its own, with where to ask for removal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.pages.blocklists import LISTED_SHOWN, blocklists_page
from reputation import blocklists
from reputation.models import Blocklist, Listing, SendingIP
from reputation.scores import score_senders
from tests.dashboard.test_browser import browser, log_in
from tests.dns_servers import Scripted, answering, listing, servfail
from tests.reputation.blocklist_rig import BAD, TABLE, quick
from tests.reputation.test_breakers import Traffic

pytestmark = pytest.mark.django_db
DOMAIN = "shop.example"


@pytest.fixture
def page(client: Client, operator: User) -> Callable[[str], str]:
    client.force_login(operator)

    def read(url: str) -> str:
        response = client.get(url)
        assert response.status_code == 200
        return re.sub(r"\s+", " ", response.content.decode())

    return read


def add(server: Scripted, name: str, **fields: Any) -> Blocklist:
    values = {"listed": TABLE, "resolver": server.address[0], "resolver_port": server.port, "tier": "A", **fields}
    return Blocklist.objects.create(name=name, zone=f"{name}.test", queries_per_second=1000, **values)


@pytest.fixture
def lists() -> Iterator[Scripted]:
    """A list of each kind, of which three list the bad IP and one the domain."""
    rules = {
        **{f"{name}.test": listing("66.2.0.192") for name in ("minor", "major", "friend")},
        "quiet.test": listing(),
        "broken.test": servfail,
        "liar.test": answering({"*": {"A": ["127.0.0.2"]}}),
        "dbl.test": listing(DOMAIN),
    }
    with Scripted(rules) as server, quick():
        Blocklist.objects.update(is_enabled=False)
        add(server, "minor", tier="C", weight=0.9, delist_note="expires by itself")
        add(server, "major", delist_url="https://major.test/remove")
        add(server, "friend", kind="allow_ip", tier="B")
        for name in ("quiet", "broken", "liar"):
            add(server, name, tier="B")
        add(server, "dbl", kind="domain")
        yield server


def look_twice(subject: str, kind: str = "ip") -> None:
    for minutes in (20, 10):
        blocklists.check_now(kind, subject, now=timezone.now() - timedelta(minutes=minutes))


def test_an_ips_page_says_where_it_is_listed_and_where_to_ask_for_removal(page: Any, lists: Scripted) -> None:
    SendingIP.objects.create(ip=BAD)
    assert "Not looked up yet" in page(f"/ips/{BAD}/")
    look_twice(BAD)
    shown = page(f"/ips/{BAD}/")
    # Tier A first, and the allow list is no listing.
    assert shown.index("<b>major</b>") < shown.index("<b>minor</b>")
    assert 'href="https://major.test/remove"' in shown
    assert "Removal: expires by itself" in shown
    assert "<b>friend</b>" not in shown
    assert "allowed" in shown
    assert "2 of 6 said nothing at the last look" in shown
    assert "Servfail: Test point: Its name servers or the resolver failed" in shown
    assert "is on the list major (SBL): spam source. Seen 2 times in a row." in shown


def test_what_was_seen_once_is_shown_as_not_confirmed(page: Any, lists: Scripted) -> None:
    SendingIP.objects.create(ip=BAD)
    blocklists.check_now("ip", BAD, now=timezone.now())
    shown = page(f"/ips/{BAD}/")
    assert "seen listed once, to be confirmed" in shown
    assert "On no blocklist that answers" in shown


def test_a_domains_page_says_it_too(page: Any, lists: Scripted, source: Any, make_event: Any) -> None:
    now = timezone.now()
    Traffic(source, make_event).record(60, now - timedelta(minutes=5), sending_domain=DOMAIN)
    score_senders(now=now)
    look_twice(DOMAIN, "domain")
    shown = page(f"/domains/{DOMAIN}/")
    assert "<b>dbl</b> (SBL)" in shown
    assert "listed" in shown


def test_the_page_of_the_lists_says_who_is_listed_and_which_list_is_not_believed(page: Any, lists: Scripted) -> None:
    assert "No sending IP and no sending domain is believed to be listed" in page("/blocklists/")
    look_twice(BAD)
    shown = page("/blocklists/")
    assert f"<code>{BAD}</code></a> on <b>major</b> (SBL)" in shown
    assert "not believed</span><br><small>It lists what nobody lists" in shown
    assert "22 lists are not asked" in shown
    assert "not enabled" in shown


def test_many_listings_cost_no_more_queries_and_are_cut(lists: Scripted) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            blocklists_page(now=timezone.now())
        return len(captured)

    look_twice(BAD)
    few = queries()
    major = Blocklist.objects.get(name="major")
    Listing.objects.bulk_create(
        Listing(blocklist=major, kind="ip", subject=f"198.51.{n // 250}.{n % 250}", state="listed", shard=0)
        for n in range(2 * LISTED_SHOWN)
    )
    shown = blocklists_page(now=timezone.now())
    assert queries() == few
    assert len(shown.listed) == LISTED_SHOWN
    assert shown.more_listed


@pytest.mark.slow
@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scripts", [True, False])
def test_pages_fit_a_phone_and_need_no_scripts(
    live_server: Any, operator: User, lists: Scripted, tmp_path: Path, scripts: bool
) -> None:
    SendingIP.objects.create(ip=BAD)
    look_twice(BAD)
    with browser(tmp_path, scripts=scripts) as driver:
        metrics = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        log_in(driver, live_server.url, operator)
        for path in ("/blocklists/", f"/ips/{BAD}/"):
            driver.get(f"{live_server.url}{path}")
            assert "major" in driver.find_element("class name", "gs").text
            if scripts:
                width = driver.execute_script("return document.documentElement.scrollWidth")
                assert width <= 360, path
