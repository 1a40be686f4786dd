"""What to paste where, so that a mail server reports to a source: the same texts as the config commands print."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from reputation.enforcement import kumomta_setup
from reputation.enforcement.kumomta_setup import fetch
from telemetry import kumomta, stalwart_setup
from telemetry.domain.vocab import SourceKind
from telemetry.esp.catalogue import ESPS
from telemetry.models import Source

# What stands where the token belongs; tokens are shown once, when they are made.
TOKEN = "$TOKEN"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: a sentence, and what to paste."""

    text: str
    code: str = ""


def steps(source: Source, base_url: str, *, now: datetime) -> tuple[Step, ...]:
    """What to do at the mail server of this source, in order; `base_url` is where it reaches this installation."""
    return _STEPS[SourceKind(source.kind)](source, base_url, now)


def _documented(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    data = {
        "ip": "192.0.2.10",
        "recipient": "someone@gmail.com",
        "smtp_code": 550,
        "enhanced_code": "5.7.1",
        "reason": "this message is likely unsolicited mail",
        "mx": "gmail-smtp-in.l.google.com",
        "attempt_number": 1,
    }
    event = {"id": f"try-{_stamp(now)}", "createdAt": _stamp(now), "type": "smtp.delivery.failure", "data": data}
    return (
        Step(
            "Report each failed delivery attempt. This line reports one:",
            _curl(base_url + reverse("delivery-failure"), "application/json", _written({"events": [event]})),
        ),
        Step("Report deliveries too, with the type smtp.delivery.success: without them the volume stays unknown."),
    )


def _generic(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    event = {
        "type": "bounce",
        "occurred_at": _stamp(now),
        "sending_ip": "192.0.2.10",
        "sending_domain": "example.com",
        "recipient": "someone@gmail.com",
        "smtp_code": 550,
        "enhanced_code": "5.7.1",
        "reply": "this message is likely unsolicited mail",
        "event_id": f"try-{_stamp(now)}",
    }
    return (
        Step(
            "Report what became of each delivery attempt, as a JSON array or line by line (NDJSON):",
            _curl(base_url + reverse("events"), "application/json", _written([event])),
        ),
        Step("The types are delivery, bounce, defer and complaint. Without deliveries the volume stays unknown."),
    )


def _postfix(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    name = shlex.quote(source.name)
    return (
        Step(
            "Give each sending IP a transport with a syslog name of its own (master.cf), and put the names into this "
            "source’s IP mapping: Postfix does not log the sending IP.",
            "out10 unix - - n - - smtp -o syslog_name=postfix-ip10 -o smtp_bind_address=203.0.113.10",
        ),
        Step(
            "On the machine with both the log and this installation, keep this running:",
            f"python manage.py follow_postfix /var/log/mail.log --source {name}",
        ),
        Step(
            "Where the log lies on another machine, send it from there, with the token in a file:",
            "python manage.py follow_postfix /var/log/mail.log --ip postfix-ip10=203.0.113.10 \\\n"
            f"    --post {base_url} --token-file /etc/good-standing/token",
        ),
    )


def _stalwart(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    url = stalwart_setup.webhook_url(base_url)
    signed = bool(source.hmac_key_sealed)
    found = [
        Step(
            "Stalwart 0.16: POST this to /api of the mail server as an administrator, or fill in the same under "
            "Settings › Telemetry › Webhooks.",
            stalwart_setup.jmap(url, token=stalwart_setup.TOKEN, signed=signed),
        ),
        Step(
            "Stalwart up to 0.15: into the configuration file, then reload.",
            stalwart_setup.toml(url, token=stalwart_setup.TOKEN, signed=signed),
        ),
        Step(
            f"Put the token in the place of {stalwart_setup.TOKEN}"
            + (f", and the key that this source has in the place of {stalwart_setup.KEY}." if signed else ".")
        ),
    ]
    if not source.ip_map:
        found.append(
            Step(
                "Where Stalwart has no source IPs configured it reports 0.0.0.0: then give this source an IP mapping "
                "from queue name, node or “*” to the sending IP."
            )
        )
    if not source.metrics_url:
        found.append(
            Step(
                "To see whether events get lost, switch on Stalwart’s Prometheus page and give its address "
                "(https://…/metrics/prometheus) to this source."
            )
        )
    hook = stalwart_setup.hook_url(base_url, "data")
    found += [
        Step(
            "If you want Stalwart to ask before it takes mail (off until you do): its MTA hook. Nothing is held back "
            "until a pool’s sending policy says enforce. Stalwart 0.16, under Settings › MTA › Filters › MTA Hooks:",
            stalwart_setup.hook_jmap(hook, token=stalwart_setup.TOKEN, stage="data"),
        ),
        Step(
            "The same up to 0.15. One stage counts, data or rcpt; others only look at breakers.",
            stalwart_setup.hook_toml(hook, token=stalwart_setup.TOKEN, stage="data"),
        ),
    ]
    return tuple(found)


def _kumomta(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    return (
        Step(f"Put the token into {kumomta.TOKEN_FILE} on KumoMTA’s machine."),
        Step("Put this into KumoMTA’s policy (init.lua), before its queue helper.", kumomta.log_hook(base_url)),
        Step(
            "If you want KumoMTA to hold back what breakers pause (off until you do): let this installation call its "
            "HTTP listener, and add the server with its egress sources to the KumoMTA servers of the admin.",
            kumomta_setup.LISTENER,
        ),
        Step("Limits by sending IP and mailbox provider come as a shaping file, fetched by cron …", fetch(base_url)),
        Step("… and loaded by KumoMTA’s shaping helper.", kumomta_setup.SHAPER),
    )


def _powermta(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    name = shlex.quote(source.name)
    return (
        Step(
            "Follow the accounting files where they are written. The quoted pattern finds the next file by itself:",
            f"python manage.py import_powermta '/var/log/pmta/acct-*.csv' --source {name} --follow",
        ),
        Step(
            "Take in older files once:",
            f"python manage.py import_powermta /var/log/pmta/acct-2026-11-20*.csv --source {name}",
        ),
    )


def _esp(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    def address(slug: str, *, login: str = "") -> str:
        url = base_url + reverse("esp", kwargs={"source": source.name, "esp": slug})
        return url.replace("://", f"://{login}@", 1) if login else url

    signing = "\n".join(f"{esp.title}: {address(esp.slug)}" for esp in ESPS.values() if esp.signs)
    others = "\n".join(
        f"{esp.title}: {address(esp.slug, login=f'any:{TOKEN}')}" for esp in ESPS.values() if not esp.signs
    )
    return (
        Step(
            "An ESP that signs what it sends: give it this address for its event (tracking) webhook, and put the key "
            "that it shows you into this source’s signing key.",
            signing,
        ),
        Step("An ESP that signs nothing: this address, with the token as its password.", others),
    )


def _report_mail(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    url = f"{base_url}/api/reports/message"
    return (
        Step(
            "Have each complaint (ARF) and bounce (DSN) that arrives by mail handed over as it is, for example by a "
            "pipe of the mail server:",
            f'curl {url} -H "Authorization: Bearer {TOKEN}" \\\n'
            '  -H "Content-Type: message/rfc822" --data-binary @message.eml',
        ),
        Step(
            "Or read a mailbox where it lies:",
            f"python manage.py read_reports ~/Maildir --source {shlex.quote(source.name)}",
        ),
        Step(
            "Do not count a refusal twice: where your mail server’s own log or webhook is connected too, what it was "
            "refused is known already. Hand in complaints and the bounces that other servers send later, but not the "
            "notices (DSNs) of your own server."
        ),
    )


def _self_test(source: Source, base_url: str, now: datetime) -> tuple[Step, ...]:
    return (Step("The self-test makes this source’s events by itself."),)


def _curl(url: str, content_type: str, body: str) -> str:
    return (
        f'curl {url} \\\n  -H "Authorization: Bearer {TOKEN}" -H "Content-Type: {content_type}" \\\n'
        f"  -d {shlex.quote(body)}"
    )


def _written(body: object) -> str:
    return json.dumps(body, indent=1)


def _stamp(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"


_STEPS: dict[SourceKind, Callable[[Source, str, datetime], tuple[Step, ...]]] = {
    SourceKind.DOCUMENTED: _documented,
    SourceKind.GENERIC: _generic,
    SourceKind.STALWART: _stalwart,
    SourceKind.KUMOMTA: _kumomta,
    SourceKind.POSTFIX: _postfix,
    SourceKind.POWERMTA: _powermta,
    SourceKind.ESP: _esp,
    SourceKind.REPORT_MAIL: _report_mail,
    SourceKind.SELF_TEST: _self_test,
}
