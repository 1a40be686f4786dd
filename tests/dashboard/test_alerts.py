"""The pages of alerts: what is wrong now first, filters in the address, acts by plain forms."""

from __future__ import annotations

import csv
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from selenium.webdriver.common.by import By

from reputation import alert_delivery, alerts
from reputation.domain.alerting import Kind, Severity
from reputation.models import Alert, AlertDelivery
from tests.conftest import NOON
from tests.dashboard.test_browser import browser, log_in, patiently
from tests.reputation.alert_rig import BAD, channel, signal

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(operator: User) -> Client:
    client = Client()
    client.force_login(operator)
    return client


@pytest.fixture
def reader(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_user("rita", is_staff=True))
    return client


def text(client: Client, path: str) -> str:
    html = client.get(path).content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", html[html.find('<main class="gs"') : html.find("</main>")]).split())


def three() -> None:
    """A critical one, one that was acknowledged, one that is over."""
    alerts.take(
        [
            signal(NOON, "192.0.2.1", severity=Severity.CRITICAL),
            signal(NOON, "192.0.2.2"),
            signal(NOON, "192.0.2.3"),
            signal(NOON, "mta-1", kind=Kind.SOURCE_SILENT, key="silent:mta-1", severity=Severity.WARNING),
        ],
        now=NOON,
    )
    user = User.objects.get_or_create(username="otto")[0]
    alerts.acknowledge(Alert.objects.get(subject="192.0.2.2"), user=user, now=NOON)
    alerts.take([signal(NOON + timedelta(minutes=1), "192.0.2.3", over=True)], now=NOON)


def subjects(client: Client, query: str = "") -> list[str]:
    return [line.subject for line in client.get(f"/alerts/{query}").context["page"].lines]


def test_open_ones_come_first_the_worst_of_them_first(staff: Client) -> None:
    three()
    assert subjects(staff) == ["192.0.2.1", "mta-1", "192.0.2.2"]
    assert subjects(staff, "?state=all")[-1] == "192.0.2.3"
    assert "✖ critical" in text(staff, "/alerts/")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?state=acknowledged", ["192.0.2.2"]),
        ("?state=resolved", ["192.0.2.3"]),
        ("?severity=critical", ["192.0.2.1"]),
        ("?kind=source_silent", ["mta-1"]),
        ("?subject=192.0.2.", ["192.0.2.1", "192.0.2.2"]),
        ("?subject=MTA", ["mta-1"]),
        ("?severity=awful&kind=%00&state=x&page=-3&subject=%00", ["192.0.2.1", "mta-1", "192.0.2.2"]),
    ],
)
def test_filters_narrow_and_nonsense_is_no_error(staff: Client, query: str, found: list[str]) -> None:
    three()
    assert subjects(staff, query) == found


def test_csv_has_what_the_filters_leave(staff: Client) -> None:
    three()
    answer = staff.get("/alerts/?severity=critical&format=csv")
    header, *rows = csv.reader(b"".join(answer).decode().splitlines())
    assert [dict(zip(header, row, strict=True))["subject"] for row in rows] == ["192.0.2.1"]
    assert "alerts.csv" in answer.headers["Content-Disposition"]


def test_an_empty_page_says_what_to_do_next(staff: Client, reader: Client) -> None:
    assert "Nobody is told of alerts yet" in text(staff, "/alerts/")
    assert 'href="/admin/reputation/alertchannel/add/"' in staff.get("/alerts/").content.decode()
    assert "/admin/reputation/alertchannel/add/" not in reader.get("/alerts/").content.decode()
    assert "Nothing has been worth an alert yet" in text(staff, "/alerts/")
    channel("https://hook.example/")
    assert "Nobody is told" not in text(staff, "/alerts/")
    three()
    assert "No alert fits these filters" in text(staff, "/alerts/?kind=disk")


def test_acknowledging_and_resolving_keep_the_list_one_came_from(staff: Client) -> None:
    three()
    pk = Alert.objects.get(subject="192.0.2.1").pk
    back = "/alerts/?severity=critical"
    answer = staff.post(f"/alerts/{pk}/acknowledge", {"note": "I <b>look</b>", "back": back}, follow=True)
    assert answer.redirect_chain == [(back, 302)]
    assert "acknowledged by olga" in text(staff, back)
    answer = staff.post(f"/alerts/{pk}/resolve", {"back": "https://evil.example/"}, follow=True)
    assert answer.redirect_chain == [(f"/alerts/{pk}/", 302)]
    page = answer.content.decode()
    assert "I &lt;b&gt;look&lt;/b&gt;" in page
    assert "/resolve" not in page, "what is over has no form"
    again = staff.post(f"/alerts/{pk}/resolve", follow=True)
    assert "resolved already" in again.content.decode()
    assert staff.post("/alerts/999999/resolve").status_code == 404
    assert staff.get(f"/alerts/{pk}/resolve").status_code == 405


def test_who_may_not_act_sees_no_form_and_is_refused(reader: Client) -> None:
    three()
    pk = Alert.objects.get(subject="192.0.2.1").pk
    for path in ("/alerts/", f"/alerts/{pk}/"):
        assert "/acknowledge" not in reader.get(path).content.decode()
    assert reader.post(f"/alerts/{pk}/acknowledge").status_code == 403
    user = User.objects.get(username="rita")
    user.user_permissions.add(Permission.objects.get(codename="change_alert"))
    assert reader.post(f"/alerts/{pk}/acknowledge").status_code == 302


def test_an_alert_shows_who_was_told_and_how_it_went(staff: Client) -> None:
    channel("http://127.0.0.1:9/hook?s3cret", "ops")
    alerts.take([signal(NOON, evidence={"rejection_ratio": 0.0712, "counts_by_code": {"5.7.1": 12}})], now=NOON)
    alert_delivery.deliver(now=NOON)
    pk = Alert.objects.get().pk
    shown = text(staff, f"/alerts/{pk}/")
    assert "▲ waiting : private address, next 20 Nov" in shown
    assert "Status of a sending IP" in shown
    assert "counts by code 5.7.1: 12" in shown
    assert "The channel ops fails: private address." in text(staff, "/alerts/")
    assert "s3cret" not in staff.get(f"/alerts/{pk}/").content.decode()
    assert staff.get("/alerts/999999/").status_code == 404


def test_the_overview_says_how_many_are_open(staff: Client) -> None:
    from reputation.models import IpStanding

    IpStanding.objects.create(
        sending_ip=BAD,
        since=NOON,
        why="",
        window_start=NOON,
        window_end=NOON,
        computed_at=NOON,
        total_rejected=0,
        unique_recipient_domains=0,
        status="healthy",
        automatic_status="healthy",
        rule="none",
    )
    assert "open alert" not in text(staff, "/")
    three()
    assert "2 open alerts , 1 of them critical" in text(staff, "/")


def test_more_alerts_cost_no_more_queries(staff: Client) -> None:
    channel("https://hook.example/")

    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert staff.get(path).status_code == 200
        return len(seen)

    alerts.take([signal(NOON, "192.0.2.1")], now=NOON)
    paths = ("/alerts/", f"/alerts/{Alert.objects.get().pk}/")
    for path in paths:
        queries(path)  # the first page of a process also fills caches
    few = [queries(path) for path in paths]
    alerts.take([signal(NOON, f"198.51.100.{number}") for number in range(60)], now=NOON)
    for minute in range(1, 6):
        later = NOON + timedelta(minutes=minute)
        worse = [Severity.INFO, Severity.WARNING, Severity.CRITICAL][min(minute, 2)]
        alerts.take([signal(later, "192.0.2.1", severity=worse)], now=later)
    assert AlertDelivery.objects.count() > 60
    assert [queries(path) for path in paths] == few
    assert max(few) <= 20


def test_nobody_but_staff_sees_a_page_and_it_asks_no_outside_host(client: Client, staff: Client) -> None:
    three()
    for path in ("/alerts/", f"/alerts/{Alert.objects.first().pk}/"):  # type: ignore[union-attr]
        html = staff.get(path).content.decode()
        assert re.findall(r"""(?:src|href|action|hx-get)=["'](?:https?:)?//[^"']*""", html) == []
        main = html[html.find('<main class="gs"') : html.find("</main>")]
        assert not re.search(r"<script|<style|\son\w+=|\sstyle=", main)
        assert client.get(path).status_code == 302


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
@pytest.mark.one_database
def test_an_alert_is_acknowledged_without_scripts_and_a_phone_never_scrolls_sideways(
    live_server: Any, operator: User, tmp_path: Path
) -> None:
    now = timezone.now()
    channel("http://127.0.0.1:9/")
    alerts.take([signal(now, "a-very-long-sending-domain-name-of-a-customer.newsletters.example.com")], now=now)
    alert_delivery.deliver(now=now)
    pk = Alert.objects.get().pk
    with browser(tmp_path / "plain", scripts=False) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(f"{live_server.url}/alerts/")
        driver.find_element(By.XPATH, "//main//button[contains(., 'Acknowledge')]").click()
        patiently(driver, 15).until(lambda page: "acknowledged by olga" in page.find_element(By.TAG_NAME, "main").text)
    with browser(tmp_path / "phone") as driver:
        log_in(driver, live_server.url, operator)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        )
        for path in ("/alerts/", f"/alerts/{pk}/"):
            driver.get(live_server.url + path)
            assert driver.execute_script("return document.documentElement.scrollWidth") == 360, path
