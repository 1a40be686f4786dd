"""Good records of every format to begin from, and what a hostile sender would put into their fields.

Nothing of the product is imported here: what is fuzzed must first be loaded by the engine that watches it.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode


def _deep(depth: int) -> list[Any]:
    return [] if depth == 0 else [_deep(depth - 1)]


HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 2**64, 10**400, 1e308, 1.5, "", " ", "\x00", "\ud800", "<>", "0.0.0.0", "::ffff:1.2.3.4", "fe80::1%eth0",
    "224.0.0.1", [], {}, [[]], [None], [{}], {"data": []}, "9" * 5000, "2026-11-20T12:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "ü@bücher.example", "a@" + "b." * 200, "@", "a@[IPv6:::1]", "a@xn--", "\u200b@\u200b", "5.7.99999", "12345678901234567890", "²", "١", "1e999", "NaN", _deep(300),
)  # fmt: skip
"""Values that no server should send."""

HOSTILE_BYTES = (b"\x00", b"\xff\xfe", b"\r\n\r\n", b"--b\r\n", b'"', b"=?x?q?=ff?=", b"[[[[", b"9" * 300, b"(", b"<>", b"\xed\xa0\x80", b"%", b";", b"\\", b"*0*=", b"[" * 3000, b'{"a":' * 1500)  # fmt: skip

_FAILURE = {"ip": "192.0.2.1", "recipient": "a@gmail.com", "smtp_code": 550, "enhanced_code": "5.7.1", "reason": "no", "mx": "mx.example", "attempt_number": 1, "sender": "b@c.example", "message_id": "q1"}  # fmt: skip
_SPAN = {"spanId": 212008089975525379, "queueId": 212008089975525120, "queueName": "bulk", "hostname": "mx.example", "from": "a@b.example", "size": 1, "total": 2}  # fmt: skip
_TO = ["b@gmail.com", "c@outlook.com"]
_ANSWER = {"type": "smtp.error", "data": {"details": "x", "code": 550, "reason": "5.7.1 S3150"}}
_SENT = "delivery.delivered"

# One record in JSON each.
RECORDS: dict[str, list[dict[str, Any]]] = {
    "documented": [
        {"id": "1", "createdAt": "2026-11-20T12:00:00Z", "type": "smtp.delivery.failure", "data": _FAILURE},
        {"id": 2, "createdAt": 1763640000, "type": "smtp.delivery.success", "data": _FAILURE | {"smtp_code": 250}},
    ],
    "generic": [
        {"type": "defer", "occurred_at": 1763640000, "sending_ip": "192.0.2.1", "recipient": "a@b.example", "smtp_code": 451, "enhanced_code": "4.7.1", "message_id": "q", "event_id": 7, "attempt_number": 2, "node": "n", "classification": "c"},
        {"type": "complaint", "occurred_at": "2026-11-20 12:00:00", "sending_domain": "a.example", "recipient_domain": "b.example", "reply": "r", "mx_host": "mx.example", "sender": "<>"},
    ],
    "kumomta": [
        {"type": kind, "id": "d7ef", "sender": "news@example.com", "recipient": ["a@outlook.com", "b@outlook.com"], "queue": "c:t@outlook.com", "site": "ip-1->mx.", "size": 1, "response": {"code": 451, "enhanced_code": {"class": 4, "subject": 7, "detail": 650}, "content": "limited", "command": "MAIL"}, "peer_address": {"name": "mx.", "addr": "192.0.2.9"}, "timestamp": 1763640000, "event_time": "2026-11-20T12:00:00.123456789Z", "created": 1763639990, "num_attempts": 0, "egress_source": "ip-1", "source_address": {"address": "203.0.113.10:41234"}, "feedback_report": {"feedback_type": "abuse", "source_ip": "203.0.113.10", "original_mail_from": "a@b.example", "original_rcpto_to": ["c@d.example"], "reported_domain": ["b.example"], "incidents": 2, "supplemental_trace": {"recipient": "a@b.example"}}, "nodeid": "n", "bounce_classification": "x"}
        for kind in ("TransientFailure", "Feedback", "OOB", "Delivery", "Expiration")
    ],
    "stalwart": [
        {"id": "17", "createdAt": f"2026-11-20T12:00:0{second}Z", "type": kind, "data": _SPAN | more}
        for second, (kind, more) in enumerate((
            ("delivery.connect", {"localIp": "203.0.113.10", "remoteIp": "192.0.2.2", "to": _TO, "domain": "gmail.com"}),
            (_SENT, {"code": 250, "details": "2.0.0 OK", "to": "b@gmail.com"}),
            ("delivery.dsn-perm-fail", {"details": "Unexpected response for RCPT TO:<b@gmail.com>: Code: 550, Enhanced code: 5.1.1, Message: no.", "to": "b@gmail.com"}),
            ("delivery.mail-from-rejected", {"causedBy": _ANSWER, "to": _TO, "domain": "outlook.com"}),
            ("delivery.rcpt-to-rejected", {"causedBy": _ANSWER, "to": "c@outlook.com"}),
            ("delivery.connect-error", {"reason": "timed out", "to": _TO, "localIp": "203.0.113.11"}),
            ("delivery.greeting-failed", {"reason": _ANSWER, "to": _TO}),
            ("incoming-report.abuse-report", {"rangeFrom": "2026-11-20T11:58:00Z", "domain": ["example.com"], "remoteIp": "203.0.113.10", "total": 1, "url": "u"}),
        ))
    ],
    "powermta": [
        {"type": "b", "timeLogged": "2026-11-20 12:00:00+0000", "timeQueued": "1763640000", "orig": "a@b.example", "rcpt": "c@d.example", "dsnStatus": "5.7.1 (policy)", "dsnDiag": "smtp;550 5.7.1 no", "dsnMta": "mx.example (192.0.2.2)", "dlvSourceIp": "203.0.113.10", "dlvType": "smtp", "bounceCat": "spam", "jobId": "j", "vmta": "v", "envId": "e"},
        {"type": "f", "timeLogged": "2026-11-20 12:00:00", "zone": "Europe/Berlin", "orig": "a@b.example", "rcpt": "c@d.example", "feedbackType": "abuse", "reportedDomain": "b.example", "repSourceIp": "203.0.113.10"},
    ],
}  # fmt: skip

_SES_MAIL = {"messageId": "s", "source": "The Shop <news@shop.example>", "destination": ["a@b.example"], "tags": {"ses:outgoing-ip": ["192.0.2.10"]}}  # fmt: skip
_SES_BOUNCE = {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [{"emailAddress": "a@b.example", "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no"}], "reportingMTA": "dns; a8.example"}  # fmt: skip


def _ses(message: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": "sns-1", "TopicArn": "t", "Timestamp": "2026-11-20T12:00:00Z", "Message": json.dumps(message)}  # fmt: skip


# One record of each kind by the provider's slug.
ESP_RECORDS: dict[str, list[dict[str, Any]]] = {
    "amazon_ses": [
        _ses({"eventType": "Bounce", "mail": _SES_MAIL, "bounce": _SES_BOUNCE}),
        _ses({"eventType": "DeliveryDelay", "mail": _SES_MAIL, "deliveryDelay": {"delayType": "x", "delayedRecipients": _SES_BOUNCE["bouncedRecipients"]}}),
        _ses({"notificationType": "Complaint", "mail": _SES_MAIL, "complaint": {"complainedRecipients": [{"emailAddress": "a@b.example"}, {"emailAddress": "c@b.example"}], "complaintFeedbackType": "abuse"}}),
    ],
    "brevo": [{"event": "hard_bounce", "email": "a@b.example", "ts_epoch": 1763640000000, "message-id": "<b@x>", "reason": "550 5.1.1 no", "sending_ip": "192.0.2.10", "sender_email": "c@d.example"}],
    "mailersend": [{"type": "activity.hard_bounced", "data": {"id": "a1", "type": "hard_bounced", "created_at": "2026-11-20T12:00:00Z", "morph": {"object": "recipient_bounce", "reason": "550 no"}, "email": {"from": "n@s.example", "message": {"id": "m"}, "recipient": {"email": "a@b.example"}}}}],
    "mailgun": [{"signature": {"timestamp": "1763640000", "token": "t", "signature": "s"}, "event-data": {"event": "failed", "id": "m", "timestamp": 1763640000.25, "severity": "permanent", "reason": "bounce", "recipient": "a@b.example", "envelope": {"sender": "n@s.example", "sending-ip": "192.0.2.10"}, "message": {"headers": {"message-id": "m@s", "from": "n@s.example"}}, "delivery-status": {"code": 550, "message": "no", "description": "", "attempt-no": 2, "mx-host": "mx.example", "enhanced-code": "5.1.1"}}}],
    "mailjet": [{"event": "bounce", "email": "a@b.example", "time": 1763640000, "MessageID": 19421777835146490, "smtp_reply": "250 ok", "error": "user unknown", "error_related_to": "recipient", "comment": "c"}],
    "mailtrap": [{"event": "bounce", "event_id": "e1", "message_id": "m", "email": "a@b.example", "timestamp": 1763640000, "response": "550 5.1.1 no", "response_code": 550, "sending_domain_name": "s.example", "sending_stream": "bulk"}],
    "mandrill": [{"event": "hard_bounce", "ts": 1763640000, "_id": "md", "msg": {"email": "a@b.example", "sender": "n@s.example", "diag": "smtp;550 5.1.1 no", "bounce_description": "x", "smtp_events": [{"source_ip": "192.0.2.10", "diag": "250"}]}}],
    "postal": [{"event": "MessageDeliveryFailed", "timestamp": 1763640000, "uuid": "po", "payload": {"status": "HardFail", "output": "550 no", "message": {"id": 7, "to": "a@b.example", "from": "n@s.example", "direction": "outgoing"}}}],
    "postmark": [{"RecordType": "Bounce", "MessageID": "pm", "MessageStream": "outbound", "ID": 42, "Type": "HardBounce", "Email": "a@b.example", "From": "n@s.example", "BouncedAt": "2026-11-20T12:00:00Z", "Details": "smtp;550 5.1.1 no"}, {"RecordType": "Delivery", "MessageID": "pm", "Recipient": "a@b.example", "DeliveredAt": "2026-11-20T12:00:00Z", "Details": "250 OK"}],
    "resend": [{"type": "email.bounced", "created_at": "2026-11-20T12:00:00Z", "data": {"email_id": "r", "from": "S <n@s.example>", "to": ["a@b.example"], "bounce": {"message": "hard bounce"}}}],
    "sendgrid": [{"email": "a@b.example", "timestamp": 1763640000, "event": kind, "smtp-id": "<m@s>", "sg_event_id": "sg", "ip": "192.0.2.10", "reason": "550 5.1.1 no", "status": "5.1.1", "type": "bounce", "response": "421 4.7.0 later", "attempt": "2"} for kind in ("bounce", "deferred", "delivered")],
    "sparkpost": [{"msys": {"message_event": {"type": "bounce", "event_id": "sp", "timestamp": "1763640000", "raw_rcpt_to": "a@b.example", "rcpt_to": "a@b.example", "sending_ip": "192.0.2.10", "msg_from": "x@s.example", "friendly_from": "n@s.example", "transmission_id": "t", "num_retries": "1", "bounce_class": "10", "error_code": "550", "raw_reason": "550 5.1.1 no"}}}],
    "unisender_go": [{"auth": "x", "events_by_user": [{"user_id": 1, "events": [{"event_name": "transactional_email_status", "event_data": {"status": "hard_bounced", "email": "a@b.example", "event_time": "2026-11-20 12:00:00", "job_id": "u", "delivery_info": {"delivery_status": "err_user_unknown", "destination_response": "550 5.1.1 no"}}}]}]}],
}  # fmt: skip

_SIGNED = {"x-amz-sns-message-type": "Notification", "x-amz-sns-message-id": "sns-1", "svix-id": "m", "svix-timestamp": "1763640000", "svix-signature": "v1,AAAA", "signature": "00", "mailtrap-signature": "00", "x-postal-signature": "AAAA", "x-mandrill-signature": "AAAA", "x-twilio-email-event-webhook-signature": "AAAA", "x-twilio-email-event-webhook-timestamp": "1763640000"}  # fmt: skip


def esp_request(slug: str, records: list[Any], *, head: dict[str, Any] | None = None) -> bytes:
    """A provider's request as one text: a line that says what it was sent with, then the body."""
    kind, whole = "application/json", records
    if slug == "mandrill":
        kind = "application/x-www-form-urlencoded"
        whole = urlencode({"mandrill_events": json.dumps(records)})  # type: ignore[assignment]
    elif slug == "mailtrap":
        whole = {"events": records}  # type: ignore[assignment]
    elif slug not in ("sendgrid", "mailjet", "sparkpost"):
        whole = records[0]
    body = whole if isinstance(whole, str) else json.dumps(whole)
    said = {"esp": slug, "type": kind, "key": "", "headers": _SIGNED} | (head or {})
    return json.dumps(said).encode() + b"\n" + body.encode()


def _line(time: str, rest: str) -> str:
    return f"{time} mta postfix{rest}"


_OLD, _NEW = "Nov 20 15:00:19", "2026-11-20T15:00:18.1+01:00"
LOG_LINES = [
    _line(_NEW, "-ip10/qmgr[9]: 3C3DF224138: from=<news@good.example>, size=304, nrcpt=2 (queue active)"),
    _line(_OLD, "/smtp[20006]: 3C3DF224138: to=<block@gmail.test>, relay=mx[192.0.2.1]:25, delay=0.03, delays=0.01/0.01/0/0.01, dsn=5.7.1, status=bounced (host mx[192.0.2.1] said: 550-5.7.1 [IP] blocked 550 5.7.1 see (in reply to RCPT TO command))"),
    _line(_NEW, "-ip10/smtp[7]: 3C3DF224138: to=<a@b.example>, orig_to=<c>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1, status=deferred (connect to mx.b.example[192.0.2.3]:25: Connection timed out)"),
    _line(_OLD, '/smtp[7]: 4hXy2z0Zz8zBT: to=<"a>, b"@b.example>, relay=mx.b.example[192.0.2.3]:25, delay=1, dsn=2.0.0, status=sent (250 2.0.0 OK)'),
    _line(_NEW, "/qmgr[9]: 3C3DF224138: from=<news@good.example>, status=expired, returned to sender"),
    _line(_NEW, "/qmgr[9]: 3C3DF224138: removed"),
    "<22>1 2026-11-20T15:00:18Z mta postfix/smtp 20006 - - 3C3DF224138: to=<a@b.example>, relay=mx[192.0.2.1]:25, delay=1, dsn=5.1.1, status=bounced (host mx[192.0.2.1] refused to talk to me: 554 no)",
]  # fmt: skip

_MIXED = "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type={}; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\nContent-Type: message/{}\r\n\r\n"  # fmt: skip
_DATED = "From: fbl@isp.example\r\nMessage-ID: <1@isp.example>\r\nDate: Fri, 20 Nov 2026 12:00:00 +0000\r\n"
MAILS = [
    (_DATED + _MIXED.format("feedback-report", "feedback-report") + "Feedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\nSource-IP: 203.0.113.10\r\nOriginal-Mail-From: <a@b.example>\r\nOriginal-Rcpt-To: <c@d.example>\r\nReported-Domain: b.example\r\nArrival-Date: Fri, 20 Nov 2026 11:00:00 +0000\r\nIncidents: 2\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b.example\r\nSubject: =?utf-8?q?s?=\r\n\r\nbody\r\n--b--\r\n").encode(),
    (_DATED + _MIXED.format("delivery-status", "delivery-status") + "Reporting-MTA: dns; mx.example\r\nX-Postfix-Sender: rfc822; a@b.example\r\nArrival-Date: Fri, 20 Nov 2026 11:00:00 +0000\r\n\r\nFinal-Recipient: rfc822; c@d.example\r\nOriginal-Recipient: rfc822;c@d.example\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550-5.1.1 no\r\n 550 5.1.1 such user\r\nRemote-MTA: dns; mx.d.example\r\nLast-Attempt-Date: Fri, 20 Nov 2026 11:59:00 +0000\r\n\r\nFinal-Recipient: rfc822; e@d.example\r\nAction: delayed\r\nStatus: 4.2.2\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: a@b.example\r\nReturn-Path: <a@b.example>\r\n\r\n--b--\r\n").encode(),
    (_DATED + "Subject: complaint about message from 203.0.113.10\r\nX-HmXmrOriginalRecipient: c@outlook.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary*0=\"b\"\r\n\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nRnJvbTogYUBiLmV4YW1wbGUNClgtSG1YbXJPcmlnaW5hbFJlY2lwaWVudDogY0BkLmV4YW1wbGUNCg0KYg==\r\n--b--\r\n").encode(),
]  # fmt: skip

_CSV = ["type", "timeLogged", "orig", "rcpt", "dsnStatus", "dsnDiag", "dlvSourceIp", "jobId"]


def seeds_of(name: str) -> list[bytes]:
    """Whole bodies, files or requests of this format."""
    if name == "esp":
        return [esp_request(slug, [record]) for slug, records in ESP_RECORDS.items() for record in records]
    if name == "postfix":
        return ["\n".join(LOG_LINES).encode(), *(line.encode() for line in LOG_LINES)]
    if name == "report_mail":
        return list(MAILS)
    found = [json.dumps(record).encode() for record in RECORDS[name]]
    if name == "powermta":
        rows = [",".join(f'"{RECORDS[name][0][column]}"' for column in _CSV)]
        return [*found, "\n".join([",".join(_CSV), *rows]).encode()]
    whole = {"events": RECORDS[name]} if name in ("documented", "stalwart") else RECORDS[name]
    return [*found, json.dumps(whole).encode()]


NAMES = (*RECORDS, "postfix", "report_mail", "esp")
