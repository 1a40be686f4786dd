"""The ways out: a signed webhook of our own, e-mail, and the services that Apprise knows.

An address is a URL whose scheme names the way. Only ways are taken whose every connection can be held to the rules of
the outbound client; that is a list, and not all that the library could do.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import apprise
from apprise.common import NotifyType, PersistentStoreMode
from django.conf import settings
from django.core.exceptions import ValidationError

from reputation import guarded_requests
from reputation.domain.alerting import Message, Severity
from telemetry.domain.errors import ParseError
from telemetry.domain.web_address import web_address
from telemetry.outbound import OutboundError, Trouble, checked_address, send

TIMEOUT: Final = timedelta(seconds=10)
MAIL_TIMEOUT: Final = timedelta(seconds=30)
MOST_BYTES: Final = 64 * 1024
LONGEST_URL: Final = 2_000
WEBHOOKS: Final = ("https", "http")
MAIL: Final = ("smtp", "smtps")
# Schemes of Apprise whose plugins speak HTTP by `requests` alone.
SERVICES: Final[Mapping[str, str]] = {
    "slack": "Slack",
    "pagerduty": "PagerDuty",
    "opsgenie": "Opsgenie",
    "discord": "Discord",
    "tgram": "Telegram",
    "mmost": "Mattermost",
    "mmosts": "Mattermost over TLS",
    "rocket": "Rocket.Chat",
    "rockets": "Rocket.Chat over TLS",
    "workflows": "Microsoft Teams, by a workflow",
    "gchat": "Google Chat",
    "zulip": "Zulip",
    "wxteams": "Webex Teams",
    "ntfy": "ntfy",
    "ntfys": "ntfy over TLS",
    "gotify": "Gotify",
    "gotifys": "Gotify over TLS",
    "pover": "Pushover",
    "splunk": "Splunk On-Call",
    "signl4": "SIGNL4",
    "squadcast": "Squadcast",
    "pagertree": "PagerTree",
}
# What makes a plugin read a file or another address.
_REFUSED_OPTIONS: Final = frozenset({"template", "attach", "include"})
_TYPES = {
    Severity.INFO: NotifyType.INFO,
    Severity.WARNING: NotifyType.WARNING,
    Severity.CRITICAL: NotifyType.FAILURE,
}


class ChannelError(Exception):
    """Nobody was told; `trouble` is a word that holds no address and no secret."""

    def __init__(self, trouble: str) -> None:
        super().__init__(trouble)
        self.trouble = trouble[:40]


def check_url(url: str) -> str:
    """The address as it is kept. Raises ValidationError, which never repeats what was given."""
    url = url.strip()
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > LONGEST_URL:
        raise ValidationError(f"Give a URL of at most {LONGEST_URL} plain characters.")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme in WEBHOOKS:
        try:
            web_address(url, "This")
        except ParseError as error:
            raise ValidationError(f"{error.field} {error.message}.") from None
    elif scheme in MAIL:
        _mail_address(url)
    elif scheme in SERVICES:
        _refuse_options(url)
        if _plugin(url) is None:
            raise ValidationError(f"This is not an address of {SERVICES[scheme]} as Apprise writes them.")
    else:
        raise ValidationError(
            f"There is no such way. These are taken: {', '.join((*WEBHOOKS, *MAIL, *SERVICES))}, each with “://”."
        )
    return url


def tell(url: str, message: Message, *, key: str = "", now: datetime) -> None:
    """Hand a message over to the channel at that address. Raises ChannelError."""
    scheme = url.partition("://")[0].lower()
    try:
        if scheme in WEBHOOKS:
            _webhook(url, message, key, now)
        elif scheme in MAIL:
            _mail(url, message)
        else:
            _service(url, message)
    except OutboundError as error:
        raise ChannelError(error.trouble) from None


# --- webhook ---------------------------------------------------------------------------------------------------------


def signature(key: str, body: bytes, now: datetime) -> str:
    """ "t=<seconds since 1970>,v1=<HMAC-SHA256 of "<t>.<body>", hex>"."""
    moment = int(now.timestamp())
    return f"t={moment},v1={hmac.new(key.encode(), b'%d.' % moment + body, hashlib.sha256).hexdigest()}"


def _webhook(url: str, message: Message, key: str, now: datetime) -> None:
    body = json.dumps(_as_json(message), ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": message.id}
    if key:
        headers["X-Good-Standing-Signature"] = signature(key, body, now)
    answer = send("POST", url, timeout=TIMEOUT, most_bytes=MOST_BYTES, body=body, headers=headers)
    if answer.status >= 400:
        raise ChannelError(f"http_{answer.status}")


def _as_json(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "title": message.title,
        "severity": message.severity,
        "recovered": message.is_recovery,
        "alerts": [
            {
                "id": item.id,
                "kind": item.kind,
                "news": item.news,
                "severity": item.severity,
                "subject": item.subject,
                "sentence": item.sentence,
                "url": item.url,
                "opened_at": item.opened_at.isoformat(),
            }
            for item in message.items
        ],
    }


# --- e-mail ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _MailAddress:
    """smtp[s]://user:password@host:port?from=…&to=…,…&tls=no, taken apart."""

    host: str
    port: int
    user: str
    password: str
    sender: str
    recipients: tuple[str, ...]
    at_once: bool
    """TLS from the first byte."""
    starttls: bool


def _mail_address(url: str) -> _MailAddress:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValidationError("This is not a URL.") from None
    query = {name.lower(): values[-1] for name, values in parse_qs(parts.query).items()}
    recipients = tuple(entry.strip() for entry in query.get("to", "").split(",") if entry.strip())
    sender = query.get("from", "")
    if not parts.hostname or port == 0:
        raise ValidationError("Name the mail server: smtp://user:password@mail.example.com:587?from=…&to=…")
    if not recipients or not all("@" in entry.strip("@") for entry in (sender, *recipients)):
        raise ValidationError("Name a sender and at least one recipient: ?from=alerts@example.com&to=you@example.com")
    at_once = parts.scheme.lower() == "smtps"
    return _MailAddress(
        host=parts.hostname,
        port=port or (465 if at_once else 587),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sender=sender,
        recipients=recipients,
        at_once=at_once,
        starttls=not at_once and query.get("tls", "").lower() != "no",
    )


class _PinnedSmtp(smtplib.SMTP):
    """A mail session with an address that was checked, cut off at its deadline."""

    def __init__(self, target: _MailAddress, deadline: float) -> None:
        self._target, self._deadline = target, deadline
        self._timer: threading.Timer | None = None
        super().__init__(target.host, target.port, local_hostname="good-standing", timeout=_left(deadline))

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        may_be_private = host.lower() in {name.lower() for name in settings.ALERT_SMTP_HOSTS}
        address = checked_address(host, port, self._deadline, may_be_private=may_be_private)
        wire = socket.create_connection((address, port), timeout=timeout)
        # A socket's own timeout begins anew at every byte; the clock does not.
        self._timer = threading.Timer(_left(self._deadline), self._cut, [wire])
        self._timer.daemon = True
        self._timer.start()
        if not self._target.at_once:
            return wire
        return ssl.create_default_context().wrap_socket(wire, server_hostname=host)

    def _cut(self, wire: socket.socket) -> None:
        live = self.sock if self.sock is not None else wire
        try:
            socket.socket.shutdown(live, socket.SHUT_RDWR)
        except OSError:  # closed already
            return

    def close(self) -> None:
        """Close, and stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
        super().close()


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _mail(url: str, message: Message) -> None:
    target = _mail_address(url)
    mail = EmailMessage()
    mail["Subject"] = " ".join(message.title.split())
    mail["From"], mail["To"] = target.sender, ", ".join(target.recipients)
    # The same for every attempt: a mailbox that got it already can tell.
    mail["Message-ID"] = f"<{message.id}@{target.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    try:
        with _PinnedSmtp(target, time.monotonic() + MAIL_TIMEOUT.total_seconds()) as session:
            if target.starttls:
                session.starttls(context=ssl.create_default_context())
            if target.user:
                session.login(target.user, target.password)
            refused = session.send_message(mail, target.sender, list(target.recipients))
    except smtplib.SMTPResponseException as error:
        raise ChannelError(f"smtp_{error.smtp_code}") from None
    except smtplib.SMTPRecipientsRefused:
        raise ChannelError("recipients_refused") from None
    except smtplib.SMTPNotSupportedError:
        raise ChannelError("no_starttls_or_login") from None
    except ssl.SSLError:
        raise ChannelError(Trouble.TLS) from None
    except TimeoutError:
        raise ChannelError(Trouble.TIMEOUT) from None
    except (OSError, smtplib.SMTPException):
        raise ChannelError(Trouble.UNREACHABLE) from None
    if refused:
        raise ChannelError("some_recipients_refused")


# --- Apprise ---------------------------------------------------------------------------------------------------------


class _NoAttachment:
    """In the place of what would read files and other addresses: always empty."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def add(self, *_: Any, **__: Any) -> bool:
        """Nothing can be added. Raises ChannelError."""
        raise ChannelError("refused_option")


def _refuse_options(url: str) -> None:
    names = {name.lower().lstrip("+-:") for name in parse_qs(urlsplit(url).query, keep_blank_values=True)}
    if names & _REFUSED_OPTIONS:
        raise ValidationError("Templates and attachments are not taken: they would read files of this server.")


def _plugin(url: str) -> Any:
    """The plugin of that address, its way out guarded; None where Apprise does not understand it."""
    asset = apprise.AppriseAsset(
        app_id="Good Standing",
        app_url="",
        async_mode=False,
        storage_mode=PersistentStoreMode.MEMORY,
        http_redirects=False,
    )
    plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if plugin is None:
        return None
    module = sys.modules[type(plugin).__module__]
    for name, guarded in (("requests", guarded_requests), ("AppriseAttachment", _NoAttachment)):
        if hasattr(module, name):
            setattr(module, name, guarded)
    return plugin


def _service(url: str, message: Message) -> None:
    plugin = _plugin(url) if url.partition("://")[0].lower() in SERVICES else None
    if plugin is None:
        raise ChannelError("bad_address")
    guarded_requests.last_trouble.set("")
    kind = NotifyType.SUCCESS if message.is_recovery else _TYPES[message.severity]
    if not plugin.notify(title=message.title, body=message.text, notify_type=kind):
        raise ChannelError(guarded_requests.last_trouble.get() or "refused")
