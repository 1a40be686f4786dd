"""KumoMTA servers and acts as operators and their scripts meet them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from reputation import breaker_acts
from reputation.domain.breaker_policy import Scope
from reputation.models import KumoAct, KumoServer, SendingPolicy
from telemetry.models import Source
from tests.reputation.scripted_kumomta import Kumo, running
from tests.reputation.test_breakers_api import Ask, caller

pytestmark = pytest.mark.django_db
SERVERS = "/api/enforcement/kumomta/servers"
SECRET = "standing:a-long-secret"


@pytest.fixture
def kumo(settings: Any) -> Iterator[Kumo]:
    settings.ALLOW_PRIVATE_URLS = True
    with running() as kumo:
        kumo.login = SECRET
        yield kumo


@pytest.fixture
def operator(django_user_model: type[User]) -> Ask:
    user = django_user_model.objects.create_user("otto", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="change_kumoserver"))
    return caller(user)


@pytest.fixture
def viewer(django_user_model: type[User]) -> Ask:
    return caller(django_user_model.objects.create_user("vera", is_staff=True))


def test_a_server_is_added_tried_and_told_and_its_login_is_never_answered(
    kumo: Kumo, operator: Ask, viewer: Ask
) -> None:
    SendingPolicy.objects.update(mode="enforce")
    body = {
        "name": "mta-1",
        "url": kumo.url,
        "login": SECRET,
        "named_by": "tenant",
        "egress_sources": {"ip-1": "192.0.2.1"},
    }
    made = operator("POST", SERVERS, body)
    assert (made.status_code, made.json()["has_login"]) == (201, True)
    url = f"{SERVERS}/{made.json()['id']}"
    assert operator("POST", f"{url}/test").json()["ok"] is True
    breaker_acts.open_by_hand(
        Scope("domain", "shop.example"), reason="x", user=User.objects.first(), now=timezone.now()
    )
    breaker_acts.open_by_hand(Scope("ip", "192.0.2.99"), reason="x", user=User.objects.first(), now=timezone.now())
    told = operator("POST", f"{url}/apply").json()
    assert (told["suspended"], told["failed"], told["error"]) == (1, 0, "")
    assert "192.0.2.99" in told["untold"][0]
    (act,) = viewer("GET", "/api/enforcement/kumomta/acts?act=suspend&server=mta-1&sender=shop.example").json()[
        "results"
    ]
    assert (act["kind"], act["status"], act["body"]["tenant"]) == ("domain", 200, "shop.example")
    shown = [viewer("GET", path).content.decode() for path in (SERVERS, url, "/api/enforcement/kumomta/acts")]
    assert "a-long-secret" not in "".join([made.content.decode(), *shown])
    assert KumoServer.objects.get().login == SECRET
    assert operator("DELETE", url).status_code == 409, "what it was told is kept"


def test_another_host_forgets_the_login(operator: Ask) -> None:
    url = f"{SERVERS}/{operator('POST', SERVERS, {'name': 'm', 'url': 'http://a.example:8000', 'login': SECRET}).json()['id']}"
    assert operator("PATCH", url, {"url": "http://a.example:8000/kumo"}).json()["has_login"] is True
    assert operator("PATCH", url, {"url": "http://b.example:8000"}).json()["has_login"] is False
    assert operator("PATCH", url, {"url": "http://a.example:8000", "login": SECRET}).json()["has_login"] is True
    assert operator("PATCH", url, {"login": ""}).json()["has_login"] is False
    assert operator("DELETE", url).status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://a.example"}, "url"),
        ({"url": "http://user:secret@a.example"}, "url"),
        ({"url": "http://a.example/?x=1"}, "url"),
        ({"login": "no-colon"}, "login"),
        ({"named_by": "queue"}, "named_by"),
        ({"egress_sources": ["ip-1"]}, "egress_sources"),
        ({"egress_sources": {"ip-1": "nonsense"}}, "egress_sources"),
        ({"egress_sources": {"ip-1": 7}}, "egress_sources"),
        ({"egress_sources": {"a->b": "192.0.2.1"}}, "egress_sources"),
        ({"egress_sources": {"ip-1": "2001:DB8::1"}}, "egress_sources"),
        ({"domain_names": {"Shop.Example": "x"}}, "domain_names"),
        ({"domain_names": {"shop.example": ""}}, "domain_names"),
        ({"name": "with blanks"}, "name"),
        ({"suspensions": 7}, "suspensions"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_bodies_are_refused_by_field(operator: Ask, body: dict[str, Any], field: str) -> None:
    answer = operator("POST", SERVERS, {"name": "mta-1", "url": "http://a.example:8000", **body})
    assert answer.status_code == 400
    assert field in [entry["field"] for entry in answer.json()["errors"]]
    assert not KumoServer.objects.exists()


def test_a_source_of_another_kind_is_refused(operator: Ask) -> None:
    source = Source.objects.create(name="mta-1", kind="postfix")
    answer = operator("POST", SERVERS, {"name": "m", "url": "http://a.example", "source": source.pk})
    assert answer.json()["errors"][0]["field"] == "source"


def test_who_may_only_look_changes_and_calls_nothing(kumo: Kumo, viewer: Ask) -> None:
    server = KumoServer.objects.create(name="mta-1", url=kumo.url)
    url = f"{SERVERS}/{server.pk}"
    for method, path in (
        ("POST", SERVERS),
        ("PATCH", url),
        ("DELETE", url),
        ("POST", f"{url}/apply"),
        ("POST", f"{url}/test"),
    ):
        assert viewer(method, path, {}).status_code == 403
    assert kumo.reads == 0
    assert not KumoAct.objects.exists()
    assert viewer("GET", f"{SERVERS}/999").status_code == 404
