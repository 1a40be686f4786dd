"""Channels and rules of alerts in the admin: what is secret stays so, and a test says how it fared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from reputation.models import AlertChannel, AlertRule
from tests.reputation.alert_rig import Web, channel, web
from tests.site.admin.conftest import change, messages_of

pytestmark = pytest.mark.django_db
ADD = "admin:reputation_alertchannel_add"


@pytest.fixture
def hook(settings: Any) -> Iterator[Web]:
    settings.ALLOW_PRIVATE_URLS = True
    with web() as seen:
        yield seen


def test_a_channel_is_added_with_an_address_that_is_never_shown(as_root: Client, as_viewer: Client) -> None:
    form = {"name": "ops", "is_enabled": "on", "is_default": "on"}
    assert b"A channel needs an address" in as_root.post(reverse(ADD), form).content
    refused = as_root.post(reverse(ADD), form | {"new_url": "file:///etc/s3cret"})
    assert b"There is no such way" in refused.content
    assert b"s3cret" not in refused.content
    form |= {"new_url": "https://hook.example/s3cret", "new_key": "k3y"}
    assert as_root.post(reverse(ADD), form).status_code == 302
    row = AlertChannel.objects.get()
    assert (row.url, row.key, row.scheme) == ("https://hook.example/s3cret", "k3y", "https")
    for client in (as_root, as_viewer):
        page = client.get(change(row)).content
        assert b"s3cret" not in page
        assert b"k3y" not in page
    as_root.post(change(row), {"name": "night", "is_enabled": "on"})
    row.refresh_from_db()
    assert (row.name, row.url, row.key) == ("night", "https://hook.example/s3cret", "k3y")


def test_the_test_button_asks_first_and_says_how_it_fared(as_root: Client, as_viewer: Client, hook: Web) -> None:
    row = channel(hook.url)
    url = reverse("admin:reputation_alertchannel_send_test", args=[row.pk])
    assert as_viewer.post(url).status_code == 403
    assert as_root.get(url).status_code == 200
    assert hook.got == []
    assert messages_of(as_root.post(url, follow=True)) == ["The other side took the test message."]
    hook.status = 500
    assert messages_of(as_root.post(url, follow=True)) == ["It did not arrive: http 500."]
    assert len(hook.got) == 2


def test_a_shipped_rule_is_not_deleted(as_root: Client) -> None:
    shipped = AlertRule.objects.filter(builtin=True).latest("id")
    own = AlertRule.objects.create(name="mine")
    delete = "admin:reputation_alertrule_delete"
    assert as_root.post(reverse(delete, args=[shipped.pk]), {"post": "yes"}).status_code == 403
    assert as_root.post(reverse(delete, args=[own.pk]), {"post": "yes"}).status_code == 302
