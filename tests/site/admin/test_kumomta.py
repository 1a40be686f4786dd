"""KumoMTA servers in the admin: told and tried by those who may, their login never to be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from reputation.breaker_acts import open_by_hand
from reputation.domain.breaker_policy import Scope
from reputation.models import KumoAct, KumoServer, SendingPolicy
from tests.reputation.scripted_kumomta import Kumo, running
from tests.site.admin.conftest import button, change, changelist, messages_of, text

pytestmark = pytest.mark.django_db
SECRET = "standing:a-long-secret"


@pytest.fixture
def kumo(settings: Any) -> Iterator[Kumo]:
    settings.ALLOW_PRIVATE_URLS = True
    with running() as kumo:
        kumo.login = SECRET
        yield kumo


def form(url: str, **given: str) -> dict[str, str]:
    return {"name": "mta-1", "url": url, "named_by": "tenant", "domain_names": "{}", "egress_sources": "{}", "is_active": "on", **given}  # fmt: skip


def test_a_server_is_added_and_told_and_its_login_is_on_no_page(kumo: Kumo, as_root: Client, root: User) -> None:
    SendingPolicy.objects.update(mode="enforce")
    assert as_root.post(button("reputation_kumoserver_add"), form(kumo.url, new_login=SECRET)).status_code == 302
    server = KumoServer.objects.get()
    assert server.login == SECRET
    open_by_hand(Scope("domain", "shop.example"), reason="x", user=root, now=timezone.now())
    apply_now, try_it = (button(f"reputation_kumoserver_{act}", server.pk) for act in ("apply_now", "try_connection"))
    for url in (apply_now, try_it):
        assert as_root.get(url).status_code == 200
    assert kumo.reads == 0, "a page that is only looked at calls nothing"
    assert "It answers" in messages_of(as_root.post(try_it, follow=True))[0]
    assert "1 suspended" in messages_of(as_root.post(apply_now, follow=True))[0]
    assert kumo.suspended() == [{"tenant": "shop.example"}]
    act = KumoAct.objects.get(act="suspend")
    pages = [
        text(as_root.get(url)) for url in (change(server), change(act), changelist(KumoServer), changelist(KumoAct))
    ]
    assert "answers" in pages[0]
    assert "shop.example" in pages[1]
    assert "a-long-secret" not in "".join(pages)
    kumo.login = "another:one"
    assert "401" in messages_of(as_root.post(try_it, follow=True))[0]
    assert "401" in messages_of(as_root.post(apply_now, follow=True))[0]


def test_a_login_stays_until_it_is_cleared_or_the_host_changes(as_root: Client) -> None:
    server = KumoServer(name="mta-1", url="http://a.example:8000")
    server.login = SECRET
    server.save()

    def saved(url: str, **given: str) -> str:
        answered = as_root.post(change(server), form(url, **given))
        assert answered.status_code == 302, answered.context["adminform"].form.errors
        return KumoServer.objects.get().login

    assert saved("http://a.example:8000") == SECRET
    assert saved("http://b.example:8000") == ""
    assert saved("http://b.example:8000", new_login="x:y") == "x:y"
    assert saved("http://b.example:8000", clear_login="on") == ""
    refused = as_root.post(change(server), form("http://b.example:8000", new_login="no-colon"))
    assert "new_login" in refused.context["adminform"].form.errors


def test_who_may_only_look_has_nothing_called(kumo: Kumo, as_viewer: Client) -> None:
    server = KumoServer.objects.create(name="mta-1", url=kumo.url)
    page = text(as_viewer.get(change(server)))
    assert kumo.url in page
    assert "Apply now" not in page
    assert "New login" not in page
    for act in ("apply_now", "try_connection"):
        assert as_viewer.post(button(f"reputation_kumoserver_{act}", server.pk)).status_code == 403
    assert kumo.reads == 0
