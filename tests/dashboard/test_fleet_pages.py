"""The pages of the whole fleet: every IP at every provider, breakers and warm-ups with what people may do about them."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard import keeping
from dashboard.pages.providers import COLUMNS_SHOWN, RANGES, ProvidersPage, providers_page
from reputation import warmups
from reputation.breaker_acts import close_by_hand, open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.domain.warmup import Schedule
from reputation.domain.warmup_policy import State, Step
from reputation.models import Breaker, BreakerEvent, Pool, SendingIP, Warmup, WarmupEvent
from reputation.scores import score_senders
from reputation.standing import score_ips
from reputation.warmup_acts import start
from reputation.warmup_moves import Change, Plan, begin
from telemetry.counters import roll_up
from telemetry.domain.cells import cell_key, floor_day, floor_hour, floor_minute
from telemetry.domain.event import Event
from telemetry.domain.vocab import UNKNOWN_IP, VolumeReporting
from telemetry.ingest import record_batch
from telemetry.models import RollupMark, Source, TrafficDay, TrafficHour
from tests.conftest import NOON
from tests.dashboard.test_browser import browser, log_in, patiently
from tests.dashboard.test_pages import BAD, GOOD, QUIET, bad_day, mail, queries, refused, text

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
SCHEDULE = Schedule((100, 1000, 2000))
REASON = {"reason": "said in the test"}


@pytest.fixture(autouse=True)
def _always_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine: what a test has just stored is read."""
    monkeypatch.setattr(keeping, "WORTH_KEEPING", math.inf)
    keeping.forget()


@pytest.fixture
def reader(django_user_model: type[User]) -> Client:
    """Staff who may look at everything and change nothing."""
    user = django_user_model.objects.create_user("vera", "vera@example.com", "correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    return client


def heat(range_id: str = "24h", pool: str = "", provider: str = "", now: datetime | None = None) -> ProvidersPage:
    return providers_page(range_id=range_id, pool=pool, provider=provider, now=now or timezone.now())


def cells(page: ProvidersPage) -> dict[tuple[str, str], tuple[str, int | None, int]]:
    """By IP and column: the level, sent, refused."""
    return {
        (row.ip, column.id): (cell.level.id, cell.sent, cell.outcomes.rejected)
        for row in page.rows
        for column, cell in zip(page.columns, row.cells, strict=True)
    }


def lines(response: Any) -> list[dict[str, str]]:
    assert response.headers["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(b"".join(response.streaming_content).decode().splitlines()))


def propose(sender: str, kind: Any = "domain") -> Warmup:
    change = Change(Step.PROPOSED, "It had sent nothing for 30 days.", State.PROPOSED, 1, plan=Plan(SCHEDULE, "UTC"))
    row = begin(kind, sender, change, now=timezone.now(), found="idle_domain")
    assert row is not None
    return row


# Every IP at every provider.


def test_each_cell_says_how_one_provider_takes_one_ip(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    page = heat()
    assert [row.ip for row in page.rows] == [BAD, GOOD]
    assert cells(page) == {
        (BAD, "google"): ("quarantine", 392, 12),  # 3.06 %
        (BAD, "microsoft_consumer"): ("few", 8, 8),
        (GOOD, "google"): ("healthy", 100, 0),
        (GOOD, "microsoft_consumer"): ("none", 0, 0),
    }
    shown = text(staff, "/providers/")
    assert f"{BAD} ■ quarantine" in shown
    assert "■ 3.06 % 12 refused of 392 sent: above 3 %" in shown
    assert "○ 8 of 8 8 refused of 8 sent: fewer than 50 sent: too few to judge" in shown
    assert "– No mail" in shown


@pytest.mark.parametrize(
    ("rejected", "sent", "level"),
    [
        (19, 1000, "healthy"),
        (20, 1000, "warning"),
        (30, 1000, "warning"),
        (31, 1000, "quarantine"),
        (50, 1000, "quarantine"),
        (51, 1000, "blacklisted"),
        (25, 49, "few"),
        (1, 50, "warning"),
    ],
)
def test_levels_are_the_products_thresholds_compared_exactly(
    source: Source, make_event: Make, rejected: int, sent: int, level: str
) -> None:
    now = timezone.now()
    events = mail(make_event, now, sent - rejected, sending_ip=BAD) + refused(make_event, now, rejected, sending_ip=BAD)
    record_batch(source, events, now=now)
    assert cells(heat()) == {(BAD, "google"): (level, sent, rejected)}


def test_an_unknown_volume_has_no_share(staff: Client, make_event: Make) -> None:
    now = timezone.now()
    failing = Source.objects.create(name="failures", kind="generic", volume=VolumeReporting.FAILURES_ONLY)
    record_batch(failing, refused(make_event, now, 40, sending_ip=QUIET), now=now)
    assert cells(heat()) == {(QUIET, "google"): ("unknown", None, 40)}
    assert "? 40 40 refused, volume unknown" in text(staff, "/providers/")


def test_a_blocked_ip_has_a_share_even_in_an_hour_without_a_delivery(source: Source, make_event: Make) -> None:
    now = timezone.now()
    record_batch(source, mail(make_event, now, 10, occurred_at=now - timedelta(hours=5)), now=now)
    record_batch(source, refused(make_event, now, 60), now=now)
    assert cells(heat("1h")) == {(GOOD, "google"): ("blacklisted", 60, 60)}


def test_a_breaker_marks_its_cell_and_brings_its_ip_up(
    staff: Client, source: Source, make_event: Make, operator: User
) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    open_by_hand(Scope("ip", GOOD, "yahoo"), reason="test", user=operator, now=now)
    open_by_hand(Scope("ip", "198.51.100.9"), reason="test", user=operator, now=now)
    record_batch(source, mail(make_event, now, 60, recipient_domain="yahoo.com"), now=now)
    page = heat()
    assert [(row.ip, row.held) for row in page.rows] == [(BAD, ""), (GOOD, ""), ("198.51.100.9", "open")]
    held = {
        (row.ip, column.id)
        for row in page.rows
        for column, cell in zip(page.columns, row.cells, strict=True)
        if cell.held
    }
    assert held == {(GOOD, "yahoo")}
    assert "60 sent: under 2 %; held back by a breaker (open)" in text(staff, "/providers/")
    assert [row.ip for row in heat(provider="yahoo").rows] == [GOOD, "198.51.100.9"]


def test_providers_beyond_the_columns_are_added_up(source: Source, make_event: Make, operator: User) -> None:
    now = timezone.now()
    for index in range(COLUMNS_SHOWN + 3):
        fields = {"mx_host": f"mx.host{index}.example", "recipient_domain": f"r{index}.test"}
        record_batch(source, mail(make_event, now, 20 - index, **fields), now=now)
    record_batch(source, mail(make_event, now, 50, recipient_domain="own.test", mx_host="mx.own.test"), now=now)
    open_by_hand(Scope("ip", GOOD, f"host{COLUMNS_SHOWN + 1}.example"), reason="test", user=operator, now=now)
    page = heat()
    assert [column.id for column in page.columns] == [*(f"host{n}.example" for n in range(COLUMNS_SHOWN)), ""]
    (row,) = page.rows
    assert row.cells[-1].sent == 50 + sum(20 - index for index in range(COLUMNS_SHOWN, COLUMNS_SHOWN + 3))
    assert row.cells[-1].held == "open"
    assert row.total.sent == sum(cell.sent or 0 for cell in row.cells)


def test_filters_narrow_by_pool_and_provider_and_nonsense_is_no_error(
    staff: Client, source: Source, make_event: Make
) -> None:
    bad_day(source, make_event, timezone.now())
    own, default = Pool.objects.create(name="own"), Pool.objects.get(is_default=True)
    SendingIP.objects.update_or_create(ip=BAD, defaults={"pool": own, "label": "the old one"})
    assert [row.ip for row in heat(pool=str(own.pk)).rows] == [BAD]
    assert [row.ip for row in heat(pool=str(default.pk)).rows] == [GOOD]
    assert list(cells(heat(provider="microsoft_consumer"))) == [(BAD, "microsoft_consumer")]
    for query in ("range=9y&pool=x&page=-1", "pool=99999999999999999999", "provider=%00", "range=&provider="):
        assert staff.get(f"/providers/?{query}").status_code == 200
    assert "Show all IPs and providers" in text(staff, "/providers/?provider=nobody")


def test_the_csv_names_every_ip_and_provider(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    found = lines(staff.get("/providers/?format=csv"))
    assert [(row["sending_ip"], row["provider"], row["sent"], row["refused"]) for row in found] == [
        (BAD, "google", "392", "12"),
        (BAD, "microsoft_consumer", "8", "8"),
        (GOOD, "google", "100", "0"),
    ]
    assert float(found[0]["refused_share_of_sent"]) == pytest.approx(12 / 392)


def test_mail_of_an_unknown_ip_is_left_out_and_said(staff: Client, source: Source, make_event: Make) -> None:
    now = timezone.now()
    record_batch(source, mail(make_event, now, 10) + mail(make_event, now, 7, sending_ip=UNKNOWN_IP), now=now)
    assert [row.ip for row in heat().rows] == [GOOD]
    assert "7 messages whose source could not tell the sending IP are left out" in text(staff, "/providers/")


@pytest.mark.parametrize("range_id", list(RANGES))
def test_a_range_counts_each_message_once_whatever_was_rolled_up(
    source: Source, make_event: Make, range_id: str
) -> None:
    now = NOON + timedelta(minutes=30)
    length = RANGES[range_id][1]
    RollupMark.objects.update(rolled_up_to=floor_minute(now - timedelta(hours=25)))
    for hours in (0.2, 2, 20, 40):
        record_batch(source, mail(make_event, now, 10, occurred_at=now - timedelta(hours=hours)), now=now)
    expected = 10 * sum(timedelta(hours=hours) < length for hours in (0.2, 2, 20, 40))
    older = {"source_id": source.pk, "sending_ip": GOOD, "sending_domain": "good.example", "provider": "google"}
    for days in (4, 6, 7, 10, 29, 30, 45):
        # Of these days the minutes are gone; the hour in which a long range begins counts as a whole.
        at = floor_hour(now - timedelta(days=days))
        for table, bucket in ((TrafficHour, at), (TrafficDay, floor_day(at))):
            key = cell_key(bucket, *(str(value) for value in older.values()))
            table.objects.create(id=key, bucket=bucket, delivered=10, **older)
        expected += 10 * (timedelta(days=days) <= length)
    for _ in range(2):
        page = heat(range_id, now=now)
        assert cells(page)[GOOD, "google"] == ("few" if expected < 50 else "healthy", expected, 0)
        roll_up(now=now)


def test_sums_that_took_long_are_believed_for_a_while_and_breakers_never(
    source: Source, make_event: Make, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "WORTH_KEEPING", 0)
    monkeypatch.setattr(keeping, "KEPT_FOR", 10**6)
    now = timezone.now()
    record_batch(source, mail(make_event, now, 60), now=now)
    assert cells(heat(now=now)) == {(GOOD, "google"): ("healthy", 60, 0)}
    record_batch(source, refused(make_event, now, 60), now=now)
    open_by_hand(Scope("ip", GOOD, "google"), reason="test", user=operator, now=now)
    page = heat(now=now + timedelta(seconds=1))
    assert cells(page) == {(GOOD, "google"): ("healthy", 60, 0)}
    assert page.rows[0].cells[0].held == "open"
    assert cells(heat("1h", now=now)) == {(GOOD, "google"): ("blacklisted", 120, 60)}, "another range is another sum"
    assert cells(heat(now=now + timedelta(days=3650)))[GOOD, "google"] == ("none", 0, 0), "and no sum is kept for ever"


def test_nothing_reported_says_what_to_do(staff: Client, source: Source) -> None:
    assert "see whether the sources report" in text(staff, "/providers/")
    assert "No sender was ever paused" in text(staff, "/breakers/")
    assert "New sending IPs and cold domains are looked for daily" in text(staff, "/warmups/")
    assert "Nobody whose volume is known sent to this provider" in text(staff, "/providers/google/")


# One provider.


def test_a_provider_lists_its_senders_worst_first_and_quotes_itself(
    staff: Client, source: Source, make_event: Make, operator: User
) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    open_by_hand(Scope("domain", "spam.example", "google"), reason="a bought list", user=operator, now=now)
    open_by_hand(Scope("domain", "other.example", "yahoo"), reason="elsewhere", user=operator, now=now)
    shown = text(staff, "/providers/google/")
    assert shown.index(f"{BAD} 95") < shown.index(f"{GOOD} 100")
    assert "5.7.1 content 12" in shown
    assert "Blocked &lt;b&gt;as spam&lt;/b&gt;" in shown
    assert "a bought list" in shown
    assert "elsewhere" not in shown
    domains = text(staff, "/providers/google/?of=domain&q=spam")
    assert "spam.example 95" in domains
    assert "good.example" not in domains
    (row,) = lines(staff.get("/providers/google/?of=domain&q=spam&format=csv"))
    assert (row["sender"], row["score"], row["bounced"]) == ("spam.example", "95", "12")


def test_a_provider_nobody_heard_of_is_a_page_that_says_so(staff: Client, source: Source) -> None:
    assert staff.get("/providers/nobody.example/").status_code == 404
    assert staff.get("/providers/google/?of=nonsense&q=%00&page=x").status_code == 200


# Breakers.


@pytest.fixture
def breakers(operator: User) -> list[Breaker]:
    """Closed first and last, open between: by time alone the order would be wrong."""
    now = timezone.now()
    made = []
    for minutes, scope in ((9, Scope("ip", GOOD)), (6, Scope("ip", BAD, "google")), (3, Scope("domain", "d.example"))):
        at = now - timedelta(minutes=minutes)
        made.append(open_by_hand(scope, reason=f"for {scope}", user=operator, now=at))
    close_by_hand(made[2], reason="a mistake", user=operator, now=now)
    close_by_hand(made[0], reason="a mistake", user=operator, now=now - timedelta(minutes=8))
    return made


def senders(client: Client, query: str = "") -> list[str]:
    return [row["sender"] for row in lines(client.get(f"/breakers/?format=csv{query}"))]


def test_what_holds_mail_back_comes_first(staff: Client, breakers: list[Breaker]) -> None:
    assert senders(staff) == [BAD, "d.example", GOOD]
    shown = text(staff, "/breakers/")
    assert f"{BAD} at Google (Gmail and Workspace) ■ open Timeline" in shown
    assert shown.index(BAD) < shown.index("d.example")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("&state=open", [BAD]),
        ("&state=closed", ["d.example", GOOD]),
        ("&scope=ip", [GOOD]),
        ("&scope=ip_provider", [BAD]),
        ("&provider=google", [BAD]),
        ("&q=D.EX", ["d.example"]),
        ("&q=%00nobody", []),
        ("&state=nonsense&scope=nonsense&page=0", [BAD, "d.example", GOOD]),
    ],
)
def test_breakers_are_filtered(staff: Client, breakers: list[Breaker], query: str, expected: list[str]) -> None:
    assert senders(staff, query) == expected
    assert staff.get(f"/breakers/?{query[1:]}").status_code == 200


def test_a_breaker_tells_its_numbers_and_its_timeline(
    staff: Client, source: Source, make_event: Make, operator: User
) -> None:
    from reputation import breakers as machine

    now = timezone.now()
    record_batch(source, mail(make_event, now, 160) + refused(make_event, now, 40, enhanced_code="5.1.1"), now=now)
    score_senders(now=now)
    machine.check_all(now=now)
    row = Breaker.objects.get(kind="ip", provider="google")
    for url in ("/breakers/", f"/breakers/{row.pk}/"):
        shown = text(staff, url)
        assert "Opened by bounce rate Value 20 % of 200 threshold 10 %" in shown
        assert "Next probe" in shown
    close_by_hand(row, reason="our own test list", user=operator, now=now)
    shown = text(staff, f"/breakers/{row.pk}/")
    assert "■ open → ● closed manual, by olga" in shown
    assert "● closed → ■ open bounce rate, by automated 20 % of 200, threshold 10 %" in shown
    found = next(line for line in lines(staff.get("/breakers/?format=csv&scope=ip_provider")))
    assert (found["value"], found["threshold"], found["volume"]) == ("0.2", "0.1", "200")
    assert staff.get("/breakers/999/").status_code == 404


def test_a_breaker_is_opened_and_closed_by_plain_forms(staff: Client, operator: User) -> None:
    until = (timezone.now() + timedelta(hours=2)).replace(second=0, microsecond=0)
    given = {"sender": " Shop.Example ", "provider": "google", "expires_at": f"{until:%Y-%m-%dT%H:%M}", **REASON}
    response = staff.post("/breakers/open", given)
    row = Breaker.objects.get()
    assert response.headers["Location"] == f"/breakers/{row.pk}/"
    assert (str(row.scope), row.state, row.held_until, row.held_by) == ("shop.example at google", "open", until, "olga")
    assert "Opened: shop.example at google." in text(staff, f"/breakers/{row.pk}/")
    assert staff.post(f"/breakers/{row.pk}/close", REASON).status_code == 302
    row.refresh_from_db()
    assert row.state == "closed"
    assert row.held_until is not None
    assert staff.post(f"/breakers/{row.pk}/open", REASON).status_code == 302
    assert list(BreakerEvent.objects.order_by("id").values_list("to_state", flat=True)) == ["open", "closed", "open"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sender": "no..name", **REASON}, "no..name"),
        ({"sender": "shop.example"}, "This field is required"),
        ({"sender": "shop.example", "provider": "gogle", **REASON}, "no mailbox provider with this id"),
        ({"sender": "shop.example", "expires_at": "2020-01-01T00:00", **REASON}, "This moment has passed"),
        ({"sender": "shop.example", "expires_at": "soon", **REASON}, "Enter a valid date/time"),
    ],
)
def test_a_mistake_is_said_beside_what_was_typed(staff: Client, given: dict[str, str], told: str) -> None:
    response = staff.post("/breakers/open", given)
    shown = response.content.decode()
    assert response.status_code == 400
    assert told in shown
    assert f'value="{given["sender"]}"' in shown
    assert not Breaker.objects.exists()


def test_who_may_only_look_sees_no_form_and_changes_nothing(reader: Client, breakers: list[Breaker]) -> None:
    running, proposed = start_one(), propose("cold.example")
    for url in ("/breakers/", f"/breakers/{breakers[0].pk}/", "/warmups/", f"/warmups/{proposed.pk}/"):
        html = reader.get(url).content.decode()
        main = html[html.index('<main class="gs"') : html.index("</main>")]
        assert 'method="post"' not in main, url
    events = BreakerEvent.objects.count(), WarmupEvent.objects.count()
    for url in (
        "/breakers/open",
        f"/breakers/{breakers[1].pk}/close",
        "/warmups/start",
        f"/warmups/{running.pk}/cancel",
        f"/warmups/{proposed.pk}/confirm",
    ):
        assert reader.post(url, {"sender": "x.example", "template": "default", "day": 1, **REASON}).status_code == 403
    assert (BreakerEvent.objects.count(), WarmupEvent.objects.count()) == events


def test_acts_are_posted_and_only_known_ones_exist(staff: Client, breakers: list[Breaker]) -> None:
    assert staff.get(f"/breakers/{breakers[0].pk}/open").status_code == 405
    assert staff.post(f"/breakers/{breakers[0].pk}/delete", REASON).status_code == 404
    assert staff.post("/breakers/999/open", REASON).status_code == 404
    assert staff.post("/warmups/999/cancel", REASON).status_code == 404


# Warm-ups.


def start_one(sender: str = GOOD, day: int = 1) -> Warmup:
    user = User.objects.get(username="olga")
    return start("ip", sender, SCHEDULE, reason="a new machine", user=user, now=timezone.now(), day=day)


def test_who_runs_comes_first_then_proposals_then_the_past(staff: Client) -> None:
    staff.post(f"/warmups/{start_one(BAD).pk}/cancel", REASON)
    propose("cold.example")
    start_one()
    found = lines(staff.get("/warmups/?format=csv"))
    assert [(row["sender"], row["state"]) for row in found] == [
        (GOOD, "running"),
        ("cold.example", "proposed"),
        (BAD, "cancelled"),
    ]
    for query, expected in (
        ("state=proposed", ["cold.example"]),
        ("kind=ip", [GOOD, BAD]),
        ("q=cold", ["cold.example"]),
    ):
        assert [row["sender"] for row in lines(staff.get(f"/warmups/?format=csv&{query}"))] == expected
    assert "No warm-up fits" in text(staff, "/warmups/?q=nobody%00")
    assert staff.get("/warmups/?state=x&kind=x&page=x").status_code == 200


def test_a_warm_up_shows_its_days_its_next_step_and_why_it_was_held(
    staff: Client, source: Source, make_event: Make
) -> None:
    now = timezone.now()
    record_batch(source, mail(make_event, now, 60, occurred_at=now), now=now)
    score_ips(now=now)
    row = start_one(day=2)
    for url in ("/warmups/", f"/warmups/{row.pk}/"):
        shown = text(staff, url)
        assert "Day 2 of 3: 60 of 1 000 used until" in shown
        assert "On to day 3 with 2 000 if at least 800 (80 %) were used and it stands healthy" in shown
        assert "Day 2, today 60 of 1 000 1 day to come" in shown
    warmups.tick(now=now + timedelta(days=1, minutes=10))
    shown = text(staff, f"/warmups/{row.pk}/")
    assert "Held on this day: 60 of 1,000 used on" in shown
    assert "Held : day 2 by automated 60 of 1 000 used on" in shown
    assert staff.get("/warmups/999/").status_code == 404


def test_a_warm_up_is_moved_by_plain_forms(staff: Client, operator: User) -> None:
    response = staff.post("/warmups/start", {"sender": "192.0.2.77", "template": "default", "day": 2, **REASON})
    row = Warmup.objects.get()
    assert response.headers["Location"] == f"/warmups/{row.pk}/"
    assert (row.sender, row.kind, row.day, row.state) == ("192.0.2.77", "ip", 2, "running")
    for act, more in (("skip", {"days": 3}), ("complete", {})):
        assert staff.post(f"/warmups/{row.pk}/{act}", {**REASON, **more}).status_code == 302
    row.refresh_from_db()
    assert (row.day, row.state) == (5, "completed")
    proposed = propose("cold.example")
    assert "Confirm" in text(staff, "/warmups/?state=proposed")
    assert staff.post(f"/warmups/{proposed.pk}/confirm", REASON).status_code == 302
    assert staff.post(f"/warmups/{proposed.pk}/cancel", REASON).status_code == 302
    proposed.refresh_from_db()
    assert proposed.state == "cancelled"


def test_what_a_warm_up_does_not_allow_is_said_on_its_page(staff: Client) -> None:
    row, proposed = start_one(), propose("cold.example")
    for url, given, told in (
        (f"/warmups/{row.pk}/confirm", REASON, f"The warm-up of {GOOD} is running"),
        (f"/warmups/{row.pk}/skip", {"days": 9, **REASON}, "The schedule has days 1 to 3"),
        (f"/warmups/{proposed.pk}/complete", REASON, "The warm-up of cold.example is proposed"),
        ("/warmups/start", {"sender": GOOD, "template": "default", "day": 1, **REASON}, "warms up already"),
        ("/warmups/start", {"sender": "x.example", "template": "none", "day": 1, **REASON}, "Select a valid choice"),
    ):
        response = staff.post(url, given)
        assert response.status_code == 400, url
        assert told in response.content.decode()
        assert "said in the test" in response.content.decode(), "what was typed is not lost"
    assert WarmupEvent.objects.count() == 2


# All of them.

LISTS = ["/providers/", "/providers/google/", "/breakers/", "/warmups/"]


@pytest.mark.parametrize("path", LISTS)
def test_more_rows_cost_no_more_queries(
    staff: Client, source: Source, make_event: Make, operator: User, path: str
) -> None:
    def one_more(index: int) -> None:
        ip = f"198.51.100.{index}"
        sender = {"sending_ip": ip, "sending_domain": f"d{index}.example", "recipient_domain": "gmail.com"}
        events = mail(make_event, now, 60, **sender) + refused(make_event, now, 5, **sender, reply="no")
        events += mail(make_event, now, 2, **{**sender, "recipient_domain": f"x{index}.test", "mx_host": "mx.y.test"})
        record_batch(source, events, now=now)
        open_by_hand(Scope("ip", ip, "google"), reason="test", user=operator, now=now)
        start("ip", ip, SCHEDULE, reason="test", user=operator, now=now)
        propose(f"d{index}.example")
        score_ips(now=now)
        score_senders(now=now)

    now = timezone.now()
    one_more(1)
    staff.get(path)
    few = queries(staff, path)
    for index in range(2, 9):
        one_more(index)
    assert queries(staff, path) == few


def test_a_csv_of_many_costs_no_more_queries(staff: Client, operator: User) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert lines(staff.get("/breakers/?format=csv"))
            assert lines(staff.get("/warmups/?format=csv"))
        return len(seen)

    def one_more(index: int) -> None:
        open_by_hand(Scope("ip", f"198.51.100.{index}"), reason="test", user=operator, now=timezone.now())
        start_one(f"198.51.100.{index}")

    one_more(1)
    cost()  # a process learns the providers' names once
    few = cost()
    for index in range(2, 9):
        one_more(index)
    assert cost() == few


@pytest.mark.parametrize("path", LISTS)
def test_the_pages_are_for_staff_and_bring_no_inline_script_or_style(
    staff: Client, source: Source, make_event: Make, operator: User, path: str
) -> None:
    bad_day(source, make_event, timezone.now())
    open_by_hand(Scope("ip", GOOD), reason="test", user=operator, now=timezone.now())
    start_one()
    html = staff.get(path).content.decode()
    main = html[html.index('<main class="gs"') : html.index("</main>")]
    assert not re.search(r"<script|<style|\son\w+=|\sstyle=", main)
    assert not re.findall(r"""(?:src|href|action)=["'](?:https?:)?//[^"']*""", html)
    identifiers = re.findall(r'\sid="([^"]+)"', main)
    assert len(identifiers) == len(set(identifiers))
    assert Client().get(path).headers["Location"] == f"/admin/login/?next={path}"


def test_the_overview_leads_to_the_pages(staff: Client, source: Source, make_event: Make) -> None:
    bad_day(source, make_event, timezone.now())
    html = staff.get("/").content.decode()
    main = html[html.index('<main class="gs"') : html.index("</main>")]
    for path in ("/providers/", "/breakers/", "/warmups/"):
        assert f'href="{path}"' in main


@pytest.mark.slow
@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
def test_a_phone_never_scrolls_sideways_and_acts_without_scripts(
    live_server: Any, operator: User, source: Source, make_event: Make, tmp_path: Path
) -> None:
    now = timezone.now()
    bad_day(source, make_event, now)
    for index in range(COLUMNS_SHOWN + 2):
        record_batch(
            source, mail(make_event, now, 60, mx_host=f"mx.host{index}.example", recipient_domain="r.test"), now=now
        )
    row = open_by_hand(Scope("ip", BAD, "google"), reason="w" * 300, user=operator, now=now)
    open_by_hand(Scope("domain", "a-very-long-name-of-a-sender-" * 2 + "x.example"), reason="x", user=operator, now=now)
    warm = start("ip", GOOD, Schedule(tuple(range(10**9, 10**9 + 20))), reason="w" * 300, user=operator, now=now)
    propose("cold.example")
    paths = [*LISTS, f"/breakers/{row.pk}/", f"/warmups/{warm.pk}/"]
    with browser(tmp_path / "phone") as driver:
        log_in(driver, live_server.url, operator)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        )
        for path in paths:
            driver.get(live_server.url + path)
            driver.execute_script("document.querySelectorAll('details').forEach(entry => { entry.open = true })")
            assert driver.execute_script("return document.documentElement.scrollWidth") == 360, path
    with browser(tmp_path / "plain", scripts=False) as driver:
        log_in(driver, live_server.url, operator)
        driver.get(f"{live_server.url}/breakers/{row.pk}/")
        for summary in driver.find_elements("css selector", "main .gs-acts summary"):
            if summary.text.startswith("Close"):
                summary.click()
        form = driver.find_element("css selector", f'form[action="/breakers/{row.pk}/close"]')
        form.find_element("name", "reason").send_keys("seen and mended")
        form.find_element("css selector", "[type=submit]").click()
        patiently(driver, 15).until(lambda page: "seen and mended" in page.find_element("tag name", "main").text)
    row.refresh_from_db()
    assert row.state == "closed"
