"""The ways out: what reaches whom, and what no alert may reach, whoever typed the address in."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from reputation import alert_channels, guarded_requests
from reputation.alert_channels import SERVICES, ChannelError, check_url, tell
from reputation.domain.alerting import Item, Kind, Message, News, Severity
from tests.conftest import NOON
from tests.reputation.alert_rig import BAD, Mail, Web, mail_server, web

MESSAGE = Message(
    "6f0a",
    (
        Item(
            id=1,
            kind=Kind.STATUS,
            news=News.OPENED,
            severity=Severity.CRITICAL,
            subject=BAD,
            sentence=f"{BAD} went from healthy to quarantine.",
            opened_at=NOON,
        ),
    ),
)
# An address of each service, as Apprise writes them, at a host of one's own where the service can have one.
ADDRESSES = {
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "pagerduty": "pagerduty://" + "a" * 20 + "@" + "b" * 20,
    "opsgenie": "opsgenie://" + "a1b2c3d4-e5f6-a7b8-c9d0-e1f2a3b4c5d6",
    "discord": "discord://" + "1" * 24 + "/" + "b" * 64,
    "tgram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "mmost": "mmost://{host}/3ccdd113474722377935511fc85d3dd4",
    "mmosts": "mmosts://{host}/3ccdd113474722377935511fc85d3dd4",
    "rocket": "rocket://" + "a" * 24 + "/" + "b" * 24 + "@{host}/#general",
    "rockets": "rockets://" + "a" * 24 + "/" + "b" * 24 + "@{host}/#general",
    "workflows": "workflows://{host}/643a8ba3c1fd4f8b9a4c4d1a0b2c3d4e/signature",
    "gchat": "gchat://workspace/" + "k" * 20 + "/" + "t" * 20,
    "zulip": "zulip://botname@org/" + "a" * 32 + "/channel",
    "wxteams": "wxteams://" + "a" * 80,
    "ntfy": "ntfy://{host}/topic",
    "ntfys": "ntfys://{host}/topic",
    "gotify": "gotify://{host}/abcdefghijklmno",
    "gotifys": "gotifys://{host}/abcdefghijklmno",
    "pover": "pover://" + "u" * 30 + "@" + "a" * 30,
    "splunk": "splunk://route@" + "a1b2c3d4-e5f6-a7b8-c9d0-e1f2a3b4c5d6",
    "signl4": "signl4://secret",
    "squadcast": "squadcast://" + "a" * 40,
    "pagertree": "pagertree://int_123456789",
}


@pytest.fixture
def hook() -> Iterator[Web]:
    with web() as seen:
        yield seen


@pytest.fixture
def post() -> Iterator[Mail]:
    with mail_server() as seen:
        yield seen


def trouble(url: str) -> str:
    with pytest.raises(ChannelError) as caught:
        tell(url, MESSAGE, now=NOON)
    return caught.value.trouble


def mail_url(post: Mail, host: str = "localhost", **options: str) -> str:
    query = {"from": "alerts@gs.example", "to": "ops@gs.example,night@gs.example", "tls": "no"} | options
    return f"smtp://{host}:{post.port}?" + "&".join(f"{name}={value}" for name, value in query.items())


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f000001"])
def test_no_webhook_reaches_a_private_address(hook: Web, host: str) -> None:
    assert trouble(f"http://{host}:{hook.port}/hook") == "private_address"
    assert trouble("http://169.254.169.254/latest/meta-data") == "private_address"
    assert hook.got == []


@pytest.mark.parametrize("scheme", ["mmost", "gotify", "ntfy"])
def test_no_service_of_apprise_reaches_a_private_address(hook: Web, settings: Any, scheme: str) -> None:
    address = ADDRESSES[scheme].format(host=f"127.0.0.1:{hook.port}")
    assert trouble(address) == "private_address"
    assert hook.got == []
    settings.ALLOW_PRIVATE_URLS = True
    tell(address, MESSAGE, now=NOON)
    assert BAD in hook.got[0].body.decode()


@pytest.mark.parametrize("redirect", ["", "&redirect=yes"])
def test_no_redirect_is_followed(hook: Web, settings: Any, redirect: str) -> None:
    settings.ALLOW_PRIVATE_URLS = True
    hook.status, hook.location = 302, f"http://127.0.0.1:{hook.port}/elsewhere"
    assert trouble(f"http://127.0.0.1:{hook.port}/hook?x{redirect}") == "redirect"
    assert trouble(f"gotify://127.0.0.1:{hook.port}/abcdefghijklmno?x=y{redirect}") == "redirect"
    assert {got.path.partition("?")[0] for got in hook.got} == {"/hook", "/message"}


def test_every_service_speaks_http_by_the_guarded_client_alone() -> None:
    assert set(ADDRESSES) == set(SERVICES)
    for scheme, address in ADDRESSES.items():
        plugin = alert_channels._plugin(address.format(host="chat.example"))
        assert plugin is not None, scheme
        module = sys.modules[type(plugin).__module__]
        assert module.requests is guarded_requests, scheme
        if hasattr(module, "AppriseAttachment"):
            assert module.AppriseAttachment is alert_channels._NoAttachment, scheme
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        } | {
            (node.module or "").partition(".")[0]
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.ImportFrom)
        }
        forbidden = {"socket", "smtplib", "subprocess", "http", "httpx", "urllib3", "asyncio", "requests_oauthlib"}
        assert not imported & forbidden, scheme
        used = {
            node.attr
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "requests"
        }
        assert not {name for name in used if not hasattr(guarded_requests, name)}, scheme


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "file:///etc/passwd",
        "syslog://localhost",
        "json://127.0.0.1/x",
        "mailto://user:pass@example.com",
        "https://user:pass@example.com/hook",
        "slack://",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general?template=/etc/passwd",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/%23general?Template=http://127.0.0.1/",
        "smtp://mail.example",
        "smtp://mail.example?from=a@x.example",
        "smtp://mail.example:99999?from=a@x.example&to=b@x.example",
        "https://example.com/" + "a" * 2000,
        "https://example.com/\r\nX: y",
    ],
)
def test_what_is_no_channel_is_refused_without_repeating_its_secret(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check_url(url)
    assert "pass@" not in str(caught.value)
    assert "T1JJ3T3L2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", [*(url.format(host="chat.example") for url in ADDRESSES.values()), "https://x.example/"]
)
def test_what_is_a_channel_is_taken(url: str) -> None:
    assert check_url(f" {url} ") == url


# --- what arrives ----------------------------------------------------------------------------------------------------


def test_what_a_service_answers_is_kept_as_a_word(hook: Web, settings: Any) -> None:
    settings.ALLOW_PRIVATE_URLS = True
    hook.status = 404
    assert trouble(hook.url) == "http_404"
    assert trouble(f"gotify://127.0.0.1:{hook.port}/abcdefghijklmno") == "http_404"
    hook.status = 200
    tell(hook.url, MESSAGE, now=NOON)
    assert "X-Good-Standing-Signature" not in hook.got[-1].headers


def test_mail_goes_to_a_private_server_only_where_it_is_named(post: Mail, settings: Any) -> None:
    assert trouble(mail_url(post)) == "private_address"
    settings.ALERT_SMTP_HOSTS = ["mail.example"]
    assert trouble(mail_url(post)) == "private_address"
    settings.ALERT_SMTP_HOSTS = ["LocalHost"]
    tell(mail_url(post), MESSAGE, now=NOON)
    ((recipients, mail),) = post.got
    assert recipients == ["ops@gs.example", "night@gs.example"]
    assert mail["Subject"] == f"[critical] {BAD}: status of a sending IP"
    assert (mail["From"], mail["Message-ID"]) == ("alerts@gs.example", "<6f0a@gs.example>")
    assert mail.get_payload().strip() == f"{BAD} went from healthy to quarantine."


def test_what_a_mail_server_says_is_kept_as_a_word(post: Mail, settings: Any) -> None:
    settings.ALERT_SMTP_HOSTS = ["localhost"]
    assert trouble(mail_url(post, tls="yes")) == "no_starttls_or_login"
    post.answer_to_data = "554 5.7.1 no"
    assert trouble(mail_url(post)) == "smtp_554"
    post.greeting = "421 busy"
    assert trouble(mail_url(post)) == "smtp_421"


def test_a_subject_cannot_add_a_header(post: Mail, settings: Any) -> None:
    settings.ALERT_SMTP_HOSTS = ["localhost"]
    item = Item(
        id=1,
        kind=Kind.STATUS,
        news=News.OPENED,
        severity=Severity.INFO,
        subject="x\r\nBcc: evil@example.com",
        sentence="y",
        opened_at=NOON,
    )
    tell(mail_url(post), Message("m", (item,)), now=NOON)
    assert post.got[0][1]["Bcc"] is None
