"""Who may do what: viewer, operator, admin, on pages, in the API and in the admin."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from reputation.models import Override
from reputation_site import groups
from reputation_site.groups import ADMIN, OPERATOR, ROLES, VIEWER
from telemetry.domain.event import Event
from telemetry.models import Source
from tests.dashboard.test_pages import BAD, bad_day

pytestmark = pytest.mark.django_db
Make = Callable[..., Event]
NOBODY: tuple[str, ...] = ()
ACTING = (OPERATOR, ADMIN)
# Method, path, body, who may. "May" is any answer but 401 and 403: a body that is refused was looked at.
MAY: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    # Pages.
    ("GET", "/", {}, ROLES),
    ("GET", f"/ips/{BAD}/", {}, ROLES),
    ("GET", "/domains/spam.example/", {}, ROLES),
    ("GET", "/blocklists/", {}, ROLES),
    ("GET", "/sources/", {}, ROLES),
    ("GET", "/sources/mta-1/", {}, ROLES),
    ("GET", "/search/?q=mta", {}, ROLES),
    ("GET", "/alerts/", {}, ROLES),
    ("GET", "/providers/", {}, ROLES),
    ("GET", "/breakers/", {}, ROLES),
    ("GET", "/warmups/", {}, ROLES),
    ("GET", "/second-factor/", {}, ROLES),
    ("POST", "/breakers/open", {}, ACTING),
    ("POST", "/warmups/start", {}, ACTING),
    ("GET", "/api/alerts", {}, ROLES),
    ("POST", "/api/alerts/999/acknowledge", {}, ACTING),
    ("POST", "/api/alert-rules", {}, (ADMIN,)),
    ("POST", "/api/alert-channels", {}, (ADMIN,)),
    ("POST", "/sources/mta-1/test", {}, (ADMIN,)),
    # The API: reading.
    ("GET", "/api/ips", {}, ROLES),
    ("GET", f"/api/ips/{BAD}/reputation", {}, ROLES),
    ("GET", "/api/dashboard/ip-health", {}, ROLES),
    ("GET", "/api/audit-log", {}, ROLES),
    ("GET", "/api/sources", {}, ROLES),
    ("GET", "/api/policies", {}, ROLES),
    ("GET", "/api/access", {}, (ADMIN,)),
    ("GET", "/api/rejected-events", {}, ROLES),
    # The API: acting on senders.
    ("POST", f"/api/ips/{BAD}/quarantine", {"reason": "a test"}, ACTING),
    ("POST", f"/api/ips/{BAD}/release", {"reason": "a test"}, ACTING),
    ("POST", f"/api/ips/{BAD}/override", {}, ACTING),
    ("POST", f"/api/ips/{BAD}/lift", {}, ACTING),
    ("POST", "/api/ips/nonsense/dnsbl-check", {}, ACTING),
    ("POST", "/api/domains/-/dnsbl-check", {}, ACTING),
    ("POST", "/api/breakers/open", {}, ACTING),
    ("POST", "/api/breakers/999/close", {"reason": "a test"}, ACTING),
    ("POST", "/api/breakers/check", {}, ACTING),
    ("POST", "/api/warmups/start", {}, ACTING),
    ("POST", "/api/warmups/999/confirm", {"reason": "a test"}, ACTING),
    ("POST", "/api/warmups/detect", {}, ACTING),
    ("POST", "/api/audits", {}, ACTING),
    ("POST", "/api/audit-targets", {}, ACTING),
    ("PATCH", "/api/rejected-events/999", {}, ACTING),
    ("POST", "/api/rejected-events/999/replay", {}, ACTING),
    # The API: deciding.
    ("PATCH", "/api/policies/1", {}, (ADMIN,)),
    ("PATCH", "/api/breaker-policies/1", {}, (ADMIN,)),
    ("PATCH", "/api/warmup-policies/1", {}, (ADMIN,)),
    ("PATCH", "/api/sending-policies/1", {}, (ADMIN,)),
    ("POST", "/api/warmup-templates", {}, (ADMIN,)),
    ("PATCH", f"/api/sending-ips/{BAD}", {}, (ADMIN,)),
    ("PUT", "/api/pool-domains/spam.example", {}, (ADMIN,)),
    ("POST", "/api/sources", {}, (ADMIN,)),
    ("POST", "/api/sources/1/tokens", {}, (ADMIN,)),
    ("POST", "/api/blocklists", {}, (ADMIN,)),
    ("POST", "/api/enforcement/kumomta/servers", {}, (ADMIN,)),
    ("PATCH", "/api/retention/events", {}, (ADMIN,)),
    # The self-test burdens the installation: superusers.
    ("GET", "/api/testing/test-cases", {}, NOBODY),
    ("POST", "/api/testing/test-suite/run", {}, NOBODY),
    # The admin.
    ("GET", "/admin/", {}, ROLES),
    ("GET", "/admin/reputation/ipstanding/", {}, ROLES),
    ("GET", "/admin/reputation/policy/", {}, ROLES),
    ("GET", "/admin/telemetry/sendingevent/", {}, ROLES),
    ("GET", "/admin/telemetry/sourcetoken/", {}, ROLES),
    ("GET", "/admin/telemetry/source/add/", {}, (ADMIN,)),
    ("GET", "/admin/reputation/pool/add/", {}, (ADMIN,)),
    ("GET", "/admin/telemetry/accessrecord/", {}, (ADMIN,)),
    ("GET", "/admin/auth/user/", {}, (ADMIN,)),
    ("GET", "/admin/auth/user/add/", {}, (ADMIN,)),
    ("GET", "/admin/auth/group/add/", {}, NOBODY),
]


@pytest.fixture
def member(django_user_model: type[User]) -> Callable[[str], User]:
    """Somebody in that group and with no other right."""

    def make(role: str) -> User:
        user = django_user_model.objects.create_user(f"a-{role}", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        return user

    return make


@pytest.mark.parametrize(
    ("method", "path", "body", "who"), MAY, ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_group_may_what_the_table_says(
    method: str,
    path: str,
    body: dict[str, Any],
    who: tuple[str, ...],
    member: Callable[[str], User],
    source: Source,
    make_event: Make,
) -> None:
    if BAD in path or "spam.example" in path:
        bad_day(source, make_event, timezone.now())
    client = Client()
    for role in ROLES:
        client.force_login(member(role))
        sent = "" if method == "GET" else json.dumps(body)
        status = client.generic(method, path, sent, content_type="application/json").status_code
        if role not in who:
            assert status == 403, role
        elif method == "GET":
            assert status == 200, role
        else:
            assert status in (200, 201, 202, 204, 302, 400, 404, 409), (role, status)


def test_without_a_group_staff_reads_and_nobody_else_does(client: Client, django_user_model: type[User]) -> None:
    stranger = django_user_model.objects.create_user("sam", password="correct horse battery")
    client.force_login(stranger)
    assert client.get("/").status_code == 302
    assert client.get("/api/ips").status_code == 403
    stranger.groups.add(Group.objects.get(name=ADMIN))
    assert client.get("/api/ips").status_code == 403


@pytest.mark.parametrize("role", ROLES)
def test_the_console_offers_only_what_one_may_do(
    role: str, member: Callable[[str], User], client: Client, source: Source
) -> None:
    client.force_login(member(role))
    shown = client.get("/sources/mta-1/").content.decode()
    assert ("Send a test event" in shown) is (role == ADMIN)
    assert ("Make a token" in shown) is (role == ADMIN)


def test_an_operator_quarantines_in_the_admin_and_a_viewer_has_no_such_button(
    member: Callable[[str], User], source: Source, make_event: Make
) -> None:
    bad_day(source, make_event, timezone.now())
    page = reverse("admin:reputation_ipstanding_changelist")
    for role, may in ((VIEWER, False), (OPERATOR, True)):
        client = Client()
        client.force_login(member(role))
        assert ("quarantine_selected" in client.get(page).content.decode()) is may
        acted = {
            "action": "quarantine_selected",
            "_selected_action": [BAD],
            "reason": "seen in the logs",
            "confirmed": "1",
        }
        client.post(page, acted)
        assert Override.objects.exists() is may


def test_every_right_to_act_exists() -> None:
    for name in groups.ACTS:
        app, codename = name.split(".")
        assert Permission.objects.filter(content_type__app_label=app, codename=codename).count() == 1, name


def test_what_somebody_changed_in_a_group_stays_so() -> None:
    viewer = Group.objects.get(name=VIEWER)
    taken = Permission.objects.get(codename="view_sendingevent")
    given = Permission.objects.get(codename="change_breaker")
    viewer.permissions.remove(taken)
    viewer.permissions.add(given)
    call_command("migrate", verbosity=0)
    assert not viewer.permissions.filter(pk=taken.pk).exists()
    assert viewer.permissions.filter(pk=given.pk).exists()


def test_a_new_version_adds_only_what_is_new() -> None:
    viewer, operator = (Group.objects.get(name=name) for name in (VIEWER, OPERATOR))
    viewer.permissions.clear()
    groups.note_permissions()
    kind = ContentType.objects.get_for_model(Source)
    for codename in ("view_weather", "change_weather"):
        Permission.objects.create(content_type=kind, codename=codename, name=codename)
    before = operator.permissions.count()
    groups.ensure_groups()
    assert [row.codename for row in viewer.permissions.all()] == ["view_weather"]
    assert operator.permissions.count() == before + 1
    assert Group.objects.get(name=ADMIN).permissions.filter(codename="change_weather").exists()


def test_a_made_user_logs_in_once_with_what_was_printed() -> None:
    told, words = StringIO(), StringIO()
    call_command("make_user", "vera", "--group", "operator", stdout=told, stderr=words)
    user = authenticate(username="vera", password=told.getvalue().strip())
    assert isinstance(user, User)
    assert (user.is_staff, user.is_superuser) == (True, False)
    assert user.has_perm("reputation.change_ipstanding")
    assert "shown only now" in words.getvalue()
    assert told.getvalue().strip() not in words.getvalue()
    with pytest.raises(CommandError, match="already exists"):
        call_command("make_user", "vera", stdout=StringIO())
