"""Every page of the admin answers, and lists cost the same however long they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from reputation.models import Policy
from reputation.policies import change_policy
from telemetry.models import (
    SendingEvent,
    Source,
    TrafficMinute,
)
from telemetry.tokens import issue_api_token
from tests.site.admin.conftest import (
    BAD,
    NAMES,
    OURS,
    Make,
    a_life,
    change,
    changelist,
    messages_of,
    text,
)

pytestmark = pytest.mark.django_db


def test_every_model_of_ours_has_a_page() -> None:
    missing = [
        model.__name__
        for app in ("telemetry", "reputation")
        for model in apps.get_app_config(app).get_models()
        if model not in admin.site._registry
    ]
    assert missing == []


def test_every_list_answers_while_it_is_empty(as_root: Client, as_viewer: Client) -> None:
    for client in (as_root, as_viewer):
        assert {model.__name__: client.get(changelist(model)).status_code for model in OURS} == dict.fromkeys(
            NAMES, 200
        )


@pytest.mark.usefixtures("life")
def test_every_list_and_every_row_answers(as_root: Client, as_viewer: Client, viewer: User) -> None:
    issue_api_token(viewer, "mine")  # one sees one's own only
    for client in (as_root, as_viewer):
        rows: dict[str, Any] = {}
        for model in OURS:
            response = client.get(changelist(model))
            assert response.status_code == 200, model
            rows[model.__name__] = next(iter(response.context["cl"].result_list), None)
        assert [name for name, row in rows.items() if row is None] == [], "the sample data leaves these empty"
        assert {name: client.get(change(row)).status_code for name, row in rows.items()} == dict.fromkeys(NAMES, 200)


def test_rows_are_added_only_where_that_makes_sense(as_root: Client, as_viewer: Client) -> None:
    def answers(client: Client) -> dict[str, int]:
        names = {model.__name__: f"admin:{model._meta.app_label}_{model._meta.model_name}_add" for model in OURS}
        return {model: client.get(reverse(name)).status_code for model, name in names.items()}

    assert set(answers(as_viewer).values()) == {403}
    assert {name for name, status in answers(as_root).items() if status == 200} == {
        *("AlertChannel", "AlertRule", "AuditTarget", "Blocklist", "CauseRule", "MailboxProvider"),
        *(
            "Source",
            "Pool",
            "Policy",
            "BreakerPolicy",
            "KumoServer",
            "SendingPolicy",
            "PoolDomain",
            "WarmupPolicy",
            "WarmupTemplate",
            "SendingIP",
            "CodeTier",
            "TierMinimum",
            "MajorProviderDomain",
            "User",
            "Group",
        ),
    }


@pytest.mark.usefixtures("life")
def test_searching_and_filtering_answer_whatever_is_typed(as_root: Client) -> None:
    request = as_root.get(reverse("admin:index")).wsgi_request
    for model in OURS:
        url = changelist(model)
        for term in ("gmail.com", "50%_'\"\\\u2603", "999.999.999.999"):
            assert as_root.get(url, {"q": term}).status_code == 200, (model, term)
        for spec in admin.site._registry[model].get_list_filter(request):
            name = spec[0] if isinstance(spec, tuple) else spec
            for given in (
                {name: "x", f"{name}_from_0": "x", f"{name}_to_0": "2026-13-40", f"{name}_from_1": "25:00"},
                {f"{name}__exact": "x", f"{name}_from": "x"},
                {f"{name}_from_0": "2026-11-20", f"{name}_to_0": "9999-12-31", f"{name}_from": "1"},
            ):
                response = as_root.get(url, given, follow=True)
                assert response.status_code == 200, (model, given)


@pytest.mark.usefixtures("life")
def test_filters_by_time_and_text_find_the_rows_they_name(as_root: Client) -> None:
    def found(model: Any, **given: str) -> int:
        return len(as_root.get(changelist(model), given).context["cl"].result_list)

    today, tomorrow = (timezone.now().date() + timedelta(days=days) for days in (0, 1))
    yesterday = today - timedelta(days=1)
    for model, name in ((SendingEvent, "occurred_at"), (TrafficMinute, "bucket")):
        assert found(model, **{f"{name}_from_0": f"{yesterday}", f"{name}_to_0": f"{tomorrow}"}) > 0
        assert found(model, **{f"{name}_from_0": f"{tomorrow}"}) == 0
        assert found(model, **{f"{name}_to_0": f"{yesterday}"}) == 0
    assert found(SendingEvent, q=BAD, type__exact="defer") == 1
    assert found(SendingEvent, q="SENDER0.example", type__exact="defer") == 1
    assert found(SendingEvent, enhanced_code="4.7.1", sending_ip=BAD) == 1
    assert found(SendingEvent, q="sender0") == 0, "a huge table is searched exactly"


def test_an_address_in_the_url_that_is_none_is_refused_and_not_a_crash(as_root: Client) -> None:
    response = as_root.get(changelist(SendingEvent), {"sending_ip": "nonsense"}, follow=True)
    assert response.status_code == 200
    assert "not an IP address" in messages_of(response)[0]


def test_every_item_of_the_side_bar_leads_somewhere(as_root: Client) -> None:
    response = as_root.get(reverse("admin:index"))
    items = [item for group in response.context["sidebar_navigation"] for item in group["items"]]
    assert len(items) == len(OURS) + 11  # every model, two of the doors, and the console's nine pages
    assert {as_root.get(item["link"]).status_code for item in items} == {200}


def test_the_side_bar_shows_what_one_may_see(as_viewer: Client, viewer: User) -> None:
    viewer.user_permissions.set(Permission.objects.filter(codename="view_source"))
    groups = as_viewer.get(reverse("admin:index")).context["sidebar_navigation"]
    titles = [item["title"] for group in groups for item in group["items"]]
    console = ["Overview", "Alerts", "By mailbox provider", "Breakers", "Warming up", "Blocklists", "Set-up of sources"]
    assert titles == [*console, "Second factor", "Sources"]


def test_an_empty_list_says_what_to_do_next(as_root: Client) -> None:
    assert "make a token for it" in text(as_root.get(changelist(Source)))


def test_lists_ask_the_database_as_often_for_many_rows_as_for_few(
    source: Source, make_event: Make, root: User, as_root: Client
) -> None:
    def queries() -> dict[str, int]:
        counted: dict[str, int] = {}
        for model in OURS:
            with CaptureQueriesContext(connection) as captured:
                assert as_root.get(changelist(model)).status_code == 200
            counted[model.__name__] = len(captured)
        return counted

    a_life(source, make_event, root, senders=2)
    queries()  # the first page of a process also fills caches
    few = queries()
    a_life(source, make_event, root, senders=6, offset=2)
    for number in range(6):
        User.objects.create_user(f"user{number}")
        Source.objects.create(name=f"mta-x{number}")
    assert queries() == few


def test_the_page_of_a_policy_costs_the_same_however_many_revisions_it_has(as_root: Client, root: User) -> None:
    policy = Policy.objects.get()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert as_root.get(change(policy)).status_code == 200
        return len(captured)

    change_policy(policy, {"minimum_volume": 51}, user=root, reason="x")
    queries()
    few = queries()
    for volume in range(52, 60):
        change_policy(policy, {"minimum_volume": volume}, user=root, reason="x")
    assert queries() == few


@pytest.mark.usefixtures("life")
def test_the_list_of_events_is_counted_to_a_bound_only(as_root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from telemetry.admin.parts import BoundedPaginator

    monkeypatch.setattr(BoundedPaginator, "counted_to", 100)
    assert SendingEvent.objects.count() > 100
    with CaptureQueriesContext(connection) as captured:
        response = as_root.get(changelist(SendingEvent))
    counts = [
        query["sql"] for query in captured if "COUNT(" in query["sql"] and "telemetry_sendingevent" in query["sql"]
    ]
    assert counts
    assert all("LIMIT 101" in sql for sql in counts)
    assert "more than 100 events" in text(response)
