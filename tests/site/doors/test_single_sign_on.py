"""Somebody else says who a person is: a provider by OpenID Connect, or a trusted proxy in a header."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice

from reputation_site.doors import oidc
from reputation_site.doors.second_factor import new_key
from telemetry.models import AccessRecord
from tests.site.doors.conftest import logged
from tests.site.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, running_provider

pytestmark = pytest.mark.django_db
BACKENDS = ["reputation_site.doors.lockout.LockoutBackend", "django.contrib.auth.backends.ModelBackend"]
HEADER = "X-Remote-User"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider, settings: Any) -> Provider:
    fresh = Provider()
    for name in ("person", "claims", "userinfo", "calls_itself", "asked"):
        setattr(running, name, getattr(fresh, name))
    running.signs_with = running.key
    settings.AUTHENTICATION_BACKENDS = [*BACKENDS, "reputation_site.doors.oidc.Backend"]
    settings.OIDC_ISSUER, settings.OIDC_NAME = running.url, "Example Mail"
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
    oidc._kept.clear()
    return running


def go_to_provider(client: Client, **query: str) -> str:
    """Press the button and be sent back by the provider: path and query of the callback."""
    begun = client.get("/login/oidc/", query)
    assert begun.status_code == 302, begun
    back = requests.get(begun.url, allow_redirects=False, timeout=10).headers["Location"]
    parts = urlsplit(back)
    return f"{parts.path}?{parts.query}"


def come_in(client: Client, **query: str) -> Any:
    return client.get(go_to_provider(client, **query))


def is_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def told(client: Client) -> str:
    return client.get("/admin/login/").content.decode()


def test_the_button_leads_in_and_back_to_where_one_was_going(client: Client, provider: Provider, vera: User) -> None:
    login = client.get("/admin/login/?next=/blocklists/").content.decode()
    assert "Sign in with Example Mail" in login
    assert 'href="/login/oidc/?next=%2Fblocklists%2F"' in login or 'href="/login/oidc/?next=/blocklists/"' in login
    answer = come_in(client, next="/blocklists/")
    assert (answer.status_code, answer.url) == (302, "/blocklists/")
    assert is_in(client)
    assert client.get("/").wsgi_request.user == vera
    asked = provider.asked[0]
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) >= 32
    assert len(asked["nonce"]) >= 32
    assert "openid" in asked["scope"].split()
    assert AccessRecord.objects.get().detail == "single sign-on"


def test_who_has_no_account_stays_out_unless_that_is_allowed(client: Client, provider: Provider, settings: Any) -> None:
    come_in(client)
    assert not is_in(client)
    assert "There is no account vera here" in told(client)
    assert not User.objects.exists()
    settings.SSO_CREATE_USERS = True
    come_in(client)
    assert is_in(client)
    user = User.objects.get(username="vera")
    assert [group.name for group in user.groups.all()] == ["viewer"]
    assert not user.has_usable_password()
    assert not user.is_superuser


def test_roles_follow_the_providers_groups(client: Client, provider: Provider, vera: User, settings: Any) -> None:
    settings.OIDC_ROLES = {"mail-team": "operator", "postmasters": "admin"}
    provider.person["groups"] = ["mail-team", "postmasters", "everybody"]
    come_in(client)
    assert [group.name for group in vera.groups.all()] == ["admin"]
    provider.person["groups"] = ["mail-team"]
    come_in(Client())
    assert [group.name for group in vera.groups.all()] == ["operator"]
    provider.person["groups"] = ["everybody"]
    other = Client()
    come_in(other)
    assert not is_in(other)
    assert "None of your groups" in told(other)


@pytest.mark.parametrize(
    ("bent", "why"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"aud": "another client"}, "another audience"),
        ({"aud": [CLIENT_ID, "another"], "azp": "another"}, "made for another"),
        ({"exp": 1}, "long over"),
        ({"exp": None}, "without an end"),
        ({"nonce": "of another login"}, "another login's"),
        ({"sub": None}, "about nobody"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_token_that_is_not_for_this_login_is_refused(
    client: Client, provider: Provider, vera: User, bent: dict[str, Any], why: str
) -> None:
    provider.claims = bent
    answer = come_in(client)
    assert answer.status_code == 302, why
    assert not is_in(client)
    assert "could not be believed" in told(client)
    assert logged()[-1][0] == "login_failed"


def test_a_forged_signature_is_refused(client: Client, provider: Provider, vera: User) -> None:
    provider.sign_with_a_stolen_name()
    come_in(client)
    assert not is_in(client)


def test_user_info_about_somebody_else_is_refused(client: Client, provider: Provider, vera: User) -> None:
    provider.userinfo = {"sub": "0815", "preferred_username": "vera"}
    come_in(client)
    assert not is_in(client)


def test_a_provider_of_another_name_is_not_asked(client: Client, provider: Provider) -> None:
    provider.calls_itself = "https://evil.example"
    assert client.get("/login/oidc/").url == "/admin/login/"
    assert "does not answer" in told(client)


def test_a_callback_works_once_and_in_the_browser_that_began(client: Client, provider: Provider, vera: User) -> None:
    callback = go_to_provider(client)
    stranger = Client()
    assert stranger.get(callback).status_code == 302
    assert not is_in(stranger)
    client.get(callback)
    assert is_in(client)
    client.post("/admin/logout/")
    assert client.get(callback).status_code in (302, 400)
    assert not is_in(client)


def test_next_never_leads_away(client: Client, provider: Provider, vera: User) -> None:
    assert come_in(client, next="https://evil.example/").url == "/"


def test_a_deactivated_person_is_out_at_once(client: Client, provider: Provider, vera: User) -> None:
    come_in(client)
    assert is_in(client)
    User.objects.update(is_active=False)
    assert not is_in(client)
    come_in(client)
    assert not is_in(client)


def test_a_provider_that_is_down_leaves_the_password(client: Client, provider: Provider, settings: Any) -> None:
    settings.OIDC_ISSUER = "http://127.0.0.1:9"
    began = time.monotonic()
    assert client.get("/login/oidc/").url == "/admin/login/"
    assert time.monotonic() - began < 11
    assert "use your password" in told(client)


def test_without_a_provider_there_is_no_such_page(client: Client) -> None:
    assert client.get("/login/oidc/").status_code == 404
    assert client.get("/login/oidc/callback").status_code == 404
    assert "Sign in with" not in told(client)


def test_the_second_factor_is_the_providers_to_ask_for(client: Client, provider: Provider, vera: User) -> None:
    TOTPDevice.objects.create(user=vera, name="Authenticator app", key=new_key())
    come_in(client)
    assert is_in(client)


# --- a proxy that says who it is --------------------------------------------------------------------------------


@pytest.fixture
def proxied(settings: Any) -> Client:
    settings.REMOTE_USER_META = "HTTP_X_REMOTE_USER"
    settings.TRUSTED_PROXIES = (ip_network("10.0.0.0/8"),)
    settings.AUTHENTICATION_BACKENDS = [*BACKENDS, "reputation_site.doors.remote_user.Backend"]
    place = settings.MIDDLEWARE.index("django_otp.middleware.OTPMiddleware")
    ours = "reputation_site.doors.remote_user.Middleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:place], ours, *settings.MIDDLEWARE[place:]]
    return Client()


def test_a_trusted_proxy_says_who_it_is(proxied: Client, vera: User) -> None:
    behind: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.1", "headers": {HEADER: "vera", "X-Forwarded-For": "203.0.113.9"}}
    answer = proxied.get("/", **behind)
    assert answer.status_code == 200
    assert answer.wsgi_request.user == vera
    assert proxied.get("/api/ips", **behind).status_code == 200
    assert logged() == [("login", "vera", "203.0.113.9")]
    # The proxy names nobody any more: the session ends with it.
    assert proxied.get("/", REMOTE_ADDR="10.0.0.1").status_code == 302


def test_nobody_else_is_believed(proxied: Client, vera: User) -> None:
    assert proxied.get("/", REMOTE_ADDR="203.0.113.9", headers={HEADER: "vera"}).status_code == 302
    forged = {HEADER: "vera", "X-Forwarded-For": "10.0.0.1"}
    assert proxied.get("/", REMOTE_ADDR="203.0.113.9", headers=forged).status_code == 302
    # A session that the proxy opened is of no use to who goes around the proxy.
    proxied.get("/", REMOTE_ADDR="10.0.0.1", headers={HEADER: "vera"})
    assert proxied.get("/", REMOTE_ADDR="203.0.113.9", headers={HEADER: "vera"}).status_code == 302


def test_an_unknown_name_makes_a_viewer_only_where_that_is_allowed(proxied: Client, settings: Any) -> None:
    named: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.1", "headers": {HEADER: "newcomer"}}
    assert proxied.get("/", **named).status_code == 302
    assert not User.objects.exists()
    settings.SSO_CREATE_USERS = True
    assert proxied.get("/", **named).status_code == 200
    user = User.objects.get()
    assert [group.name for group in user.groups.all()] == ["viewer"]
    assert not user.is_superuser


def test_many_requests_of_an_unknown_name_lock_nobody_out(proxied: Client, vera: User) -> None:
    for _ in range(8):
        proxied.get("/", REMOTE_ADDR="10.0.0.1", headers={HEADER: "newcomer"})
    assert proxied.get("/", REMOTE_ADDR="10.0.0.1", headers={HEADER: "vera"}).status_code == 200


def test_an_inactive_person_stays_out(proxied: Client, vera: User) -> None:
    User.objects.update(is_active=False)
    assert proxied.get("/", REMOTE_ADDR="10.0.0.1", headers={HEADER: "vera"}).status_code == 302


def test_the_state_is_in_the_address_only(client: Client, provider: Provider) -> None:
    """The secret never travels through the browser."""
    begun = client.get("/login/oidc/").url
    assert CLIENT_SECRET not in begun
    assert parse_qs(urlsplit(begun).query)["response_type"] == ["code"]
