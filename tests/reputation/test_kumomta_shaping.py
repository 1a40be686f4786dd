"""The shaping file says what permits say, in KumoMTA's own syntax, and only for who may read it."""

from __future__ import annotations

import base64
import tomllib
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from reputation import breaker_acts, permits
from reputation.domain.breaker_policy import Scope, State
from reputation.domain.kumomta_shaping import Rate, shaping
from reputation.models import Breaker, KumoServer, SendingPolicy
from telemetry.domain.mailbox_providers import ProviderDirectory
from telemetry.models import Source
from telemetry.tokens import issue_api_token, issue_token

URL = "/api/enforcement/kumomta/shaping.toml"
IP = "203.0.113.10"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def source(db: Any) -> Source:
    return Source.objects.create(name="kumo-1", kind="kumomta")


@pytest.fixture
def server(source: Source) -> KumoServer:
    SendingPolicy.objects.update(mode="enforce")
    sources = {"ip-1": IP, "ip-1b": IP, "ip-2": "203.0.113.11"}
    return KumoServer.objects.create(name="mta-1", url="http://mta-1:8000", source=source, egress_sources=sources)


@pytest.fixture
def otto(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_user("otto", is_staff=True)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def read(client: Client, source: Source, query: str = "", **headers: str) -> Any:
    permits.desk.cache_clear()
    return client.get(URL + query, headers={**bearer(issue_token(source)), **headers})


def throttles(client: Client, source: Source) -> dict[str, dict[str, dict[str, str]]]:
    """By provider and egress source, what is throttled."""
    answer = read(client, source)
    assert answer.status_code == 200, answer.content
    written = tomllib.loads(answer.content.decode())
    return {
        name.removeprefix("good-standing "): {
            source: entry["additional_message_rate_throttles"] for source, entry in block.get("sources", {}).items()
        }
        for name, block in written.get("provider", {}).items()
    }


def test_a_paused_ip_is_throttled_to_the_least_at_that_provider(
    client: Client, server: KumoServer, source: Source, otto: User
) -> None:
    assert throttles(client, source) == {}
    breaker_acts.open_by_hand(Scope("ip", IP, "google"), reason="blocked", user=otto, now=timezone.now())
    found = throttles(client, source)
    assert found == {"google": {key: {f"good-standing {IP} google breaker d": "1/d"} for key in ["ip-1", "ip-1b"]}}
    written = tomllib.loads(read(client, source).content.decode())
    match = written["provider"]["good-standing google"]["match"]
    assert match == [{"MXSuffix": ".google.com"}, {"MXSuffix": ".googlemail.com"}]
    SendingPolicy.objects.update(mode="observe")
    assert throttles(client, source) == {}


def test_a_half_open_ip_gets_its_probes(client: Client, server: KumoServer, source: Source) -> None:
    SendingPolicy.objects.update(ip_limit_per_hour=1000, probe_per_hour=7)
    now = timezone.now()
    Breaker.objects.create(
        kind="ip", sender=IP, state=State.HALF_OPEN, step=2, since=now, paused_at=now, trigger="bounce_rate", version=3
    )
    every = throttles(client, source)["everybody"]
    assert every["ip-1"] == {
        f"good-standing {IP} everybody probe h": "250/h",
        f"good-standing {IP} everybody base_limit h": "1000/h",
    }
    assert every["ip-2"] == {"good-standing 203.0.113.11 everybody base_limit h": "1000/h"}


def test_caps_per_provider_are_there_when_they_are_switched_on(
    client: Client, server: KumoServer, source: Source
) -> None:
    SendingPolicy.objects.update(provider_limits_on=True)
    found = throttles(client, source)
    assert found["google"]["ip-2"] == {
        "good-standing 203.0.113.11 google provider_limit d": "10000/d",
        "good-standing 203.0.113.11 google provider_limit h": "500/h",
    }
    assert found["microsoft_365"]["ip-2"]["good-standing 203.0.113.11 microsoft_365 provider_limit h"] == "1000/h"
    assert "other" not in found


def test_the_same_limits_are_the_same_text_and_etag(client: Client, server: KumoServer, source: Source) -> None:
    SendingPolicy.objects.update(provider_limits_on=True)
    first = read(client, source)
    again = read(client, source, **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["Content-Type"].startswith("application/toml")
    SendingPolicy.objects.update(ip_limit_per_hour=5)
    changed = read(client, source, **{"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_who_may_read_it(client: Client, server: KumoServer, source: Source, otto: User) -> None:
    assert client.get(URL).status_code == 401
    assert client.get(f"{URL}?token={issue_token(source)}").status_code == 401
    assert read(client, source, "?token=x").status_code == 400
    # KumoMTA sends no header of ours: a login in the URL becomes Basic.
    basic = base64.b64encode(f"kumomta:{issue_token(source)}".encode()).decode()
    assert client.get(URL, headers={"Authorization": f"Basic {basic}", "Accept": "*/*"}).status_code == 200
    assert client.get(URL, headers=bearer(issue_api_token(otto))).status_code == 200
    assert read(client, Source.objects.create(name="mta-9", kind="postfix")).status_code == 403
    stranger = Source.objects.create(name="kumo-2", kind="kumomta")
    refused = read(client, stranger, "?server=mta-1")
    assert refused.status_code == 404
    assert "kumo-2" in refused.json()["detail"]
    assert read(client, stranger, Accept="application/toml").json()["status"] == 404


def test_where_several_are_meant_one_is_named(client: Client, server: KumoServer, source: Source) -> None:
    KumoServer.objects.create(name="mta-2", url="http://mta-2:8000", source=source)
    assert "?server=" in read(client, source).json()["detail"]
    assert read(client, source, "?server=mta-2").status_code == 200


def test_any_name_makes_valid_toml_in_a_stable_order() -> None:
    directory = ProviderDirectory.of(
        [
            {"id": "g", "title": "G", "family": "", "mx_suffixes": [".b.example", ".a.example"], "mx_globs": [], "domains": []},
            {"id": "hidden", "title": "H", "family": "", "mx_suffixes": [], "mx_globs": [], "domains": ["h.example"]},
        ]
    )  # fmt: skip
    hostile = 'ip"]\\ [x] = "ü😀'
    rates = [
        Rate("g", hostile, IP, "probe", 25, HOUR),
        Rate("g", hostile, IP, "probe", 20, HOUR),
        Rate("", "ip-1", IP, "warm_up", 200, DAY),
        Rate("hidden", "ip-1", IP, "breaker", 0, DAY),
        Rate("bucket.example", "ip-1", IP, "breaker", 0, DAY),
    ]
    text = shaping(rates, directory)
    assert text == shaping(reversed(rates), directory)
    written = tomllib.loads(text)["provider"]
    assert list(written) == ["good-standing everybody", "good-standing bucket.example", "good-standing g"]
    assert written["good-standing everybody"]["match"] == [{"DomainSuffix": ""}]
    assert written["good-standing bucket.example"]["match"] == [{"MXSuffix": ".bucket.example"}]
    assert written["good-standing g"]["match"] == [{"MXSuffix": ".a.example"}, {"MXSuffix": ".b.example"}]
    throttled = written["good-standing g"]["sources"][hostile]["additional_message_rate_throttles"]
    assert throttled == {f"good-standing {IP} g probe h": "20/h"}, "of two words about one budget the stricter"
    assert '"hidden" has no MX hosts' in text
