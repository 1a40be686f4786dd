"""ESPs: each provider's own payload and signature becomes our events, once; what is not genuine changes nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.domain.errors import ParseError
from telemetry.esp import sns
from telemetry.esp.catalogue import ESPS
from telemetry.esp.parsers import ESP_PARSERS
from telemetry.intake import replay
from telemetry.models import RejectedEvent, SendingEvent, Source
from telemetry.tokens import issue_token
from tests.conftest import NOON
from tests.telemetry.broken import unwritable_database

AT = int(NOON.timestamp()) - 600
ISO = "2026-11-20T11:50:00Z"
WHO = "ann@inbox.example"
REFUSED = "550 5.1.1 The email account that you tried to reach does not exist"


def sendgrid(event: str = "bounce", **more: Any) -> dict[str, Any]:
    common = {
        "email": WHO,
        "timestamp": AT,
        "event": event,
        "smtp-id": "<m-1@shop.example>",
        "sg_event_id": f"sg-{event}",
    }
    by_type: dict[str, dict[str, Any]] = {
        "bounce": {"ip": "192.0.2.10", "reason": REFUSED, "status": "5.1.1", "type": "bounce"},
        "deferred": {"ip": "192.0.2.10", "response": "421 4.7.0 Try again later", "attempt": "2"},
        "delivered": {"ip": "192.0.2.10", "response": "250 2.0.0 OK 1763640001"},
        "spamreport": {"ip": "198.51.100.77"},
    }
    return common | by_type.get(event, {}) | more


def mailgun(event: str = "failed", key: str = "mg-key", token: str = "t1", **more: Any) -> dict[str, Any]:
    signed = hmac.new(key.encode(), f"{AT}{token}".encode(), hashlib.sha256).hexdigest()
    data = {
        "event": event,
        "id": "mg-1",
        "timestamp": AT + 0.25,
        "severity": "permanent",
        "reason": "bounce",
        "recipient": WHO,
        "envelope": {"sender": "news@shop.example", "sending-ip": "192.0.2.10", "transport": "smtp", "targets": WHO},
        "message": {"headers": {"message-id": "m-1@shop.example", "from": "The Shop <news@shop.example>"}},
        "delivery-status": {
            "code": 550,
            "message": "No such user here",
            "description": "",
            "attempt-no": 2,
            "mx-host": "mx.inbox.example",
        },
    }
    return {"signature": {"timestamp": str(AT), "token": token, "signature": signed}, "event-data": data | more}


def postmark(record: str = "Bounce", **more: Any) -> dict[str, Any]:
    by_type: dict[str, dict[str, Any]] = {
        "Bounce": {"ID": 42, "Type": "HardBounce", "Email": WHO, "From": "news@shop.example", "BouncedAt": ISO, "Description": "", "Details": f"smtp;{REFUSED}"},
        "Delivery": {"Recipient": WHO, "DeliveredAt": ISO, "Details": "250 OK"},
        "SpamComplaint": {"ID": 43, "Type": "SpamComplaint", "Email": WHO, "From": "news@shop.example", "BouncedAt": ISO},
        "Open": {"Recipient": WHO, "ReceivedAt": ISO},
    }  # fmt: skip
    return {"RecordType": record, "MessageID": "pm-1", "MessageStream": "outbound"} | by_type[record] | more


def sparkpost(kind: str = "bounce", **more: Any) -> dict[str, Any]:
    event = {
        "type": kind,
        "event_id": "sp-1",
        "timestamp": str(AT),
        "raw_rcpt_to": WHO,
        "rcpt_to": WHO,
        "sending_ip": "192.0.2.10",
        "ip_address": "198.51.100.1",
        "msg_from": "msprvs1=x@bounces.shop.example",
        "friendly_from": "news@shop.example",
        "transmission_id": "tx-1",
        "num_retries": "1",
        "bounce_class": "10",
        "error_code": "550",
        "raw_reason": REFUSED,
    }
    return {"msys": {"message_event": event | more}}


def ses(message: dict[str, Any], message_id: str = "sns-1", **more: Any) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": message_id,
        "TopicArn": "arn:aws:sns:eu-west-1:1:t",
        "Timestamp": ISO,
        "Message": json.dumps(message),
    } | more


def ses_mail() -> dict[str, Any]:
    return {
        "messageId": "ses-1",
        "source": "The Shop <news@shop.example>",
        "sourceIp": "198.51.100.44",
        "destination": [WHO, "bob@other.example"],
        "headers": [],
        "tags": {"ses:outgoing-ip": ["192.0.2.10"]},
    }


def ses_bounce(**more: Any) -> dict[str, Any]:
    bounced = [
        {"emailAddress": WHO, "action": "failed", "status": "5.1.1", "diagnosticCode": f"smtp; {REFUSED}"},
        {
            "emailAddress": "bob@other.example",
            "action": "failed",
            "status": "5.7.1",
            "diagnosticCode": "smtp; 554 blocked",
        },
    ]
    bounce = {
        "bounceType": "Permanent",
        "bounceSubType": "General",
        "bouncedRecipients": bounced,
        "reportingMTA": "dns; a8-70.smtp-out.example",
    } | more
    return {"eventType": "Bounce", "mail": ses_mail(), "bounce": bounce}


SNS_HEADERS = {"x-amz-sns-message-type": "Notification", "x-amz-sns-message-id": "sns-1"}


def post(
    client: Client, esp: str, body: Any, *, token: str = "", headers: dict[str, str] | None = None, source: str = "esp-1",
    content_type: str = "application/json",
) -> Any:  # fmt: skip
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    basic = {"Authorization": "Basic " + base64.b64encode(f"any:{token}".encode()).decode()} if token else {}
    url = f"/api/webhooks/esp/{source}/{esp}"
    return client.post(url, data=data, content_type=content_type, headers=basic | (headers or {}))


@pytest.fixture
def account(db: Any) -> Source:
    return Source.objects.create(name="esp-1", kind="esp")


@pytest.fixture
def password(account: Source) -> str:
    return issue_token(account)


def with_key(account: Source, key: str) -> None:
    account.hmac_key = key
    account.save()


def rows(*fields: str) -> list[Any]:
    return list(SendingEvent.objects.order_by("id").values_list(*fields, flat=len(fields) == 1))


# --- what the payloads say ------------------------------------------------------------------------------------------


def test_sendgrid_events_of_every_type(client: Client, password: str) -> None:
    events = [
        sendgrid(kind) for kind in ("processed", "deferred", "delivered", "bounce", "spamreport", "open", "dropped")
    ]
    answer = post(client, "sendgrid", events, token=password).json()
    assert (answer["processed"], answer["failed"]) == (7, 0)
    assert rows("type", "sending_ip", "smtp_code", "enhanced_code", "attempt_number") == [
        ("defer", "192.0.2.10", 421, "4.7.0", 2),
        ("delivery", "192.0.2.10", 250, "", None),
        ("bounce", "192.0.2.10", 550, "5.1.1", None),
        ("complaint", "0.0.0.0", None, "", None),  # that IP is whoever clicked
    ]
    assert set(rows("recipient_domain")) == {"inbox.example"}


def test_mailgun_failures_and_what_mailgun_itself_suppressed(client: Client, password: str) -> None:
    for token, body in enumerate((
        mailgun(),
        mailgun(severity="temporary", id="mg-2", **{"delivery-status": {"code": 451, "message": "4.7.1 later", "attempt-no": 1}}),
        mailgun(reason="suppress-bounce", id="mg-3", **{"delivery-status": {"code": 605, "message": "Not delivering to previously bounced address"}}),
        mailgun("delivered", id="mg-4", **{"delivery-status": {"code": 250, "message": "OK", "attempt-no": 1}}),
        mailgun("complained", id="mg-5"),
        mailgun("opened", id="mg-6"),
    )):  # fmt: skip
        assert post(client, "mailgun", body, token=password).status_code == 200, token
    assert rows("type", "sending_ip", "sending_domain", "smtp_code", "attempt_number", "mx_host") == [
        ("bounce", "192.0.2.10", "shop.example", 550, 2, "mx.inbox.example"),
        ("defer", "192.0.2.10", "shop.example", 451, 1, ""),
        ("delivery", "192.0.2.10", "shop.example", None, 1, ""),
        ("complaint", "192.0.2.10", "shop.example", None, 2, "mx.inbox.example"),
    ]


def test_mailguns_older_form_is_read(client: Client, account: Source) -> None:
    with_key(account, "mg-key")
    signed = hmac.new(b"mg-key", f"{AT}tok".encode(), hashlib.sha256).hexdigest()
    form = {"event": "bounced", "recipient": WHO, "domain": "shop.example", "code": "550", "error": "no such user", "timestamp": AT, "token": "tok", "signature": signed, "Message-Id": "<m@x>"}  # fmt: skip
    content_type = "application/x-www-form-urlencoded"
    assert post(client, "mailgun", urlencode(form).encode(), content_type=content_type).json()["processed"] == 1
    assert rows("type", "smtp_code", "sending_domain") == [("bounce", 550, "shop.example")]
    assert (
        post(client, "mailgun", urlencode(form | {"token": "other"}).encode(), content_type=content_type).status_code
        == 401
    )


def test_postmark_has_no_ip_so_the_source_may_map_it(client: Client, account: Source, password: str) -> None:
    for record in ("Bounce", "Delivery", "SpamComplaint", "Open"):
        assert post(client, "postmark", postmark(record), token=password).status_code == 200
    account.ip_map = {"outbound": "192.0.2.11"}
    account.save()
    post(client, "postmark", postmark("Bounce", ID=99), token=password)
    assert rows("type", "sending_ip", "sending_domain", "enhanced_code") == [
        ("bounce", "0.0.0.0", "shop.example", "5.1.1"),
        ("delivery", "0.0.0.0", "", ""),
        ("complaint", "0.0.0.0", "shop.example", ""),
        ("bounce", "192.0.2.11", "shop.example", "5.1.1"),
    ]


def test_sparkpost_names_the_sending_ip_and_not_the_receiving_one(client: Client, password: str) -> None:
    batch = [sparkpost(), sparkpost("delay", event_id="sp-2", num_retries="0", raw_reason="451 4.3.2 busy", error_code="451", bounce_class="70"), {"msys": {}}, sparkpost(event_id="sp-3", bounce_class="25")]  # fmt: skip
    answer = post(client, "sparkpost", batch, token=password).json()
    assert (answer["processed"], answer["failed"]) == (4, 0)
    assert rows("type", "sending_ip", "sending_domain", "attempt_number", "enhanced_code") == [
        ("bounce", "192.0.2.10", "bounces.shop.example", 2, "5.1.1"),
        ("defer", "192.0.2.10", "bounces.shop.example", 1, "4.3.2"),
    ]


def test_one_ses_bounce_of_two_recipients_is_two_events(client: Client, password: str) -> None:
    assert post(client, "amazon_ses", ses(ses_bounce()), token=password, headers=SNS_HEADERS).json()["processed"] == 2
    assert rows("recipient_domain", "smtp_code", "enhanced_code", "sending_ip", "sending_domain", "node") == [
        ("inbox.example", 550, "5.1.1", "192.0.2.10", "shop.example", "a8-70.smtp-out.example"),
        ("other.example", 554, "5.7.1", "192.0.2.10", "shop.example", "a8-70.smtp-out.example"),
    ]
    again = post(client, "amazon_ses", ses(ses_bounce()), token=password, headers=SNS_HEADERS).json()
    assert again["duplicates"] == 2


def test_ses_delays_are_deferrals_and_its_suppression_list_is_no_bounce(client: Client, password: str) -> None:
    delayed = [{"emailAddress": WHO, "status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1 Unable to connect"}]
    delay = {
        "eventType": "DeliveryDelay",
        "mail": ses_mail(),
        "deliveryDelay": {"delayType": "TransientCommunicationFailure", "delayedRecipients": delayed},
    }
    for body in (delay, ses_bounce(bounceSubType="OnAccountSuppressionList")):
        assert post(client, "amazon_ses", ses(body), token=password, headers=SNS_HEADERS).status_code == 200
    assert rows("type", "smtp_code", "enhanced_code") == [("defer", 421, "4.4.1")]


def test_an_ses_complaint_that_names_everybody_at_a_provider_is_one_complaint(client: Client, password: str) -> None:
    suspects = [{"emailAddress": f"{name}@inbox.example"} for name in ("ann", "bob", "eve")]
    body = {
        "notificationType": "Complaint",
        "mail": ses_mail(),
        "complaint": {"complainedRecipients": suspects, "complaintFeedbackType": "abuse"},
    }
    assert post(client, "amazon_ses", ses(body), token=password, headers=SNS_HEADERS).json()["processed"] == 1
    assert rows("type", "recipient", "recipient_domain") == [("complaint", "", "inbox.example")]


# --- who may say it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("esp", sorted(ESPS))
def test_without_token_and_key_nobody_reports(client: Client, account: Source, esp: str) -> None:
    assert post(client, esp, {}).status_code == 401
    assert post(client, esp, {}, source="no-such-source").status_code == 401
    assert post(client, esp, {})["WWW-Authenticate"].startswith("Basic")  # or Amazon SNS sends no password


def test_a_token_of_another_source_is_refused(client: Client, account: Source) -> None:
    other = issue_token(Source.objects.create(name="esp-2", kind="esp"))
    assert post(client, "postmark", postmark(), token=other).status_code == 401
    with_key(account, "mg-key")
    assert post(client, "mailgun", mailgun(), token=other).status_code == 401
    assert not SendingEvent.objects.exists()


def test_a_key_does_not_open_a_provider_that_signs_nothing(client: Client, account: Source) -> None:
    with_key(account, "some key")
    assert post(client, "postmark", postmark()).status_code == 401


def test_an_inactive_source_and_an_unknown_provider(client: Client, account: Source, password: str) -> None:
    assert post(client, "no_such_esp", {}, token=password).status_code == 404
    account.is_active = False
    account.save()
    assert post(client, "postmark", postmark(), token=password).status_code == 403


def test_sendgrid_signatures(client: Client, account: Source, password: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with_key(account, pem.decode())
    body = json.dumps([sendgrid()]).encode()

    def signed(data: bytes, over: bytes) -> int:
        signature = base64.b64encode(key.sign(b"1763640000" + over, ec.ECDSA(hashes.SHA256()))).decode()
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": signature,
            "X-Twilio-Email-Event-Webhook-Timestamp": "1763640000",
        }
        return int(post(client, "sendgrid", data, headers=headers).status_code)

    assert post(client, "sendgrid", body).status_code == 401
    assert post(client, "sendgrid", body, token=password).status_code == 401  # a key asks for the signature, always
    assert signed(body, body + b" ") == 401
    assert not SendingEvent.objects.exists()
    assert signed(body, body) == 200
    with_key(account, "no key at all")
    assert signed(body, body) == 401


def test_mailgun_signatures(client: Client, account: Source) -> None:
    with_key(account, "mg-key")
    assert post(client, "mailgun", mailgun(key="wrong")).status_code == 401
    assert post(client, "mailgun", {"event-data": mailgun()["event-data"]}).status_code == 401
    assert post(client, "mailgun", {"signature": "text"}).status_code == 401
    assert post(client, "mailgun", mailgun()).status_code == 200


@pytest.mark.parametrize(("esp", "header"), [("mailersend", "Signature"), ("mailtrap", "Mailtrap-Signature")])
def test_signatures_by_hmac_of_the_body(client: Client, account: Source, esp: str, header: str) -> None:
    with_key(account, "a shared secret")
    bodies = {
        "mailersend": {"type": "activity.hard_bounced", "data": {"id": "a1", "type": "hard_bounced", "created_at": ISO, "morph": {"object": "recipient_bounce", "reason": REFUSED}, "email": {"from": "news@shop.example", "message": {"id": "m"}, "recipient": {"email": WHO}}}},
        "mailtrap": {"events": [{"event": "bounce", "event_id": "e1", "message_id": "m", "email": WHO, "timestamp": AT, "response": REFUSED, "response_code": 550, "sending_domain_name": "shop.example"}]},
    }  # fmt: skip
    body = json.dumps(bodies[esp]).encode()
    right = hmac.new(b"a shared secret", body, hashlib.sha256).hexdigest()
    assert post(client, esp, body, headers={header: right[::-1]}).status_code == 401
    assert post(client, esp, body, headers={header: right}).json()["processed"] == 1
    assert rows("type", "smtp_code", "enhanced_code", "sending_domain") == [("bounce", 550, "5.1.1", "shop.example")]


def test_mandrill_signatures_are_over_the_url_and_the_form(client: Client, account: Source) -> None:
    with_key(account, "mandrill-key")
    event = {"event": "hard_bounce", "ts": AT, "_id": "md-1", "msg": {"email": WHO, "sender": "news@shop.example", "diag": f"smtp;{REFUSED}", "smtp_events": [{"source_ip": "192.0.2.10"}]}}  # fmt: skip
    events = json.dumps([event, event | {"event": "open"}])
    signed = "http://testserver/api/webhooks/esp/esp-1/mandrill" + "mandrill_events" + events
    right = base64.b64encode(hmac.new(b"mandrill-key", signed.encode(), hashlib.sha1).digest()).decode()
    body = urlencode({"mandrill_events": events}).encode()
    form = "application/x-www-form-urlencoded"
    assert (
        post(client, "mandrill", body, content_type=form, headers={"X-Mandrill-Signature": "x" + right[1:]}).status_code
        == 401
    )
    assert (
        post(client, "mandrill", body, content_type=form, headers={"X-Mandrill-Signature": right}).json()["processed"]
        == 2
    )
    assert rows("type", "sending_ip", "sending_domain", "enhanced_code") == [
        ("bounce", "192.0.2.10", "shop.example", "5.1.1")
    ]


def test_postal_signatures_and_its_hard_fail_is_a_bounce(client: Client, account: Source) -> None:
    key = rsa.generate_private_key(65537, 1024)  # what Postal makes
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with_key(account, pem.decode())
    body = json.dumps({"event": "MessageDeliveryFailed", "timestamp": AT, "uuid": "po-1", "payload": {"status": "HardFail", "output": REFUSED, "message": {"id": 7, "to": WHO, "from": "news@shop.example", "direction": "outgoing"}}}).encode()  # fmt: skip
    signature = base64.b64encode(key.sign(body, padding.PKCS1v15(), hashes.SHA1())).decode()
    assert post(client, "postal", body + b" ", headers={"X-Postal-Signature": signature}).status_code == 401
    assert post(client, "postal", body, headers={"X-Postal-Signature": signature}).status_code == 200
    assert rows("type", "enhanced_code", "message_id") == [("bounce", "5.1.1", "7")]


def test_resend_signatures_and_old_requests(client: Client, account: Source) -> None:
    secret = b"thirty-two bytes of a secret key"
    with_key(account, "whsec_" + base64.b64encode(secret).decode())
    body = json.dumps({"type": "email.bounced", "created_at": ISO, "data": {"email_id": "r-1", "from": "The Shop <news@shop.example>", "to": [WHO], "bounce": {"message": "The recipient's email provider sent a hard bounce message."}}}).encode()  # fmt: skip

    def send(at: float, over: bytes = body) -> int:
        stamp = str(int(at))
        signature = base64.b64encode(
            hmac.new(secret, f"msg_1.{stamp}.".encode() + over, hashlib.sha256).digest()
        ).decode()
        headers = {"svix-id": "msg_1", "svix-timestamp": stamp, "svix-signature": f"v1,AAAA v1,{signature}"}
        return int(post(client, "resend", body, headers=headers).status_code)

    assert post(client, "resend", body).status_code == 401
    assert send(time.time(), body + b" ") == 401
    assert send(time.time() - 3600) == 401
    assert send(time.time()) == 200
    assert send(time.time() - 60) == 200  # sent again
    assert rows("type", "sending_domain", "recipient_domain") == [("bounce", "shop.example", "inbox.example")]


def test_unisender_go_signs_with_its_api_key(client: Client, account: Source) -> None:
    with_key(account, "unisender-api-key")
    event = {"event_name": "transactional_email_status", "event_data": {"status": "hard_bounced", "email": WHO, "event_time": "2026-11-20 11:50:00", "job_id": "u-1", "delivery_info": {"delivery_status": "err_user_unknown", "destination_response": REFUSED}}}  # fmt: skip
    template = json.dumps({"auth": "AUTH", "events_by_user": [{"user_id": 1, "events": [event]}]})
    right = hashlib.md5(template.replace("AUTH", "unisender-api-key").encode()).hexdigest()
    assert post(client, "unisender_go", template.replace("AUTH", right[::-1]).encode()).status_code == 401
    assert post(client, "unisender_go", template.replace("AUTH", right).encode()).status_code == 200
    assert rows("type", "enhanced_code") == [("bounce", "5.1.1")]


def test_brevo_and_mailjet_over_the_token(client: Client, password: str) -> None:
    brevo = {
        "event": "hard_bounce",
        "email": WHO,
        "ts_epoch": AT * 1000,
        "message-id": "<b@x>",
        "reason": REFUSED,
        "sending_ip": "192.0.2.10",
    }
    mailjet = {"event": "sent", "email": WHO, "time": AT, "MessageID": 19421777835146490, "smtp_reply": "250 ok"}
    assert post(client, "brevo", brevo, token=password).json()["processed"] == 1
    assert post(client, "mailjet", mailjet, token=password).json()["processed"] == 1  # a lone event, ungrouped
    assert post(client, "mailjet", [mailjet], token=password).json()["duplicates"] == 1
    assert rows("type", "sending_ip", "message_id") == [
        ("bounce", "192.0.2.10", "b@x"),
        ("delivery", "0.0.0.0", "19421777835146490"),
    ]


def test_some_providers_look_before_they_send(client: Client, account: Source) -> None:
    assert client.head("/api/webhooks/esp/esp-1/mandrill").status_code == 200
    assert client.get("/api/webhooks/esp/esp-1/unisender_go").status_code == 200
    assert client.get("/api/webhooks/esp/esp-1/other").status_code == 404


# --- Amazon SNS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://sns.eu-west-1.amazonaws.com.evil.example/?x=1",
        "http://sns.eu-west-1.amazonaws.com/",
        "https://evil.example/?sns.eu-west-1.amazonaws.com",
        "https://sns.eu-west-1.amazonaws.com:8080/",
        "https://user@sns.eu-west-1.amazonaws.com/",
        "https://169.254.169.254/latest",
        "https://[::1",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/",
    ],
)
def test_a_subscription_is_confirmed_at_amazon_only(client: Client, password: str, url: str) -> None:
    body = {
        "Type": "SubscriptionConfirmation",
        "MessageId": "sns-1",
        "TopicArn": "arn",
        "Token": "t",
        "SubscribeURL": url,
    }
    headers = SNS_HEADERS | {"x-amz-sns-message-type": "SubscriptionConfirmation"}
    answer = post(client, "amazon_ses", body, token=password, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "SubscribeURL")
    with pytest.raises(sns.CannotConfirmError, match="SubscribeURL"):  # refused before it is visited
        sns.confirm(url)


def test_sns_headers_must_fit_the_body(client: Client, password: str) -> None:
    assert post(client, "amazon_ses", ses(ses_bounce()), token=password).status_code == 400
    assert post(client, "amazon_ses", b"[]", token=password, headers=SNS_HEADERS).status_code == 400
    assert not SendingEvent.objects.exists()


# --- retries, bad neighbours, failures ------------------------------------------------------------------------------


def test_a_retried_batch_changes_nothing_and_a_new_signature_is_no_new_event(
    client: Client, account: Source, password: str
) -> None:
    for _ in range(2):
        post(client, "sendgrid", [sendgrid("delivered"), sendgrid()], token=password)
        post(client, "mailgun", mailgun(), token=password)
    with_key(account, "mg-key")
    assert post(client, "mailgun", mailgun(token="t2")).json()["duplicates"] == 1
    assert SendingEvent.objects.count() == 3


def test_a_good_event_is_kept_beside_a_bad_one_which_can_be_mended_and_replayed(client: Client, password: str) -> None:
    bad = sendgrid("deferred")
    del bad["timestamp"]
    answer = post(client, "sendgrid", [sendgrid("delivered"), bad, 7, {"event": 5}, sendgrid()], token=password).json()
    assert (answer["status"], answer["processed"], answer["failed"]) == ("partial", 3, 2)
    assert answer["errors"][0] == {"index": 1, "field": "timestamp", "message": "is missing"}
    kept = RejectedEvent.objects.get(field="timestamp")
    kept.payload = kept.payload.replace('"event"', f'"timestamp": {AT}, "event"')
    assert replay(kept, now=NOON) is None
    assert rows("type") == ["delivery", "bounce", "defer"]


def test_a_form_that_is_cut_off_is_refused_in_our_own_words(client: Client, password: str) -> None:
    form, broken = "multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: " + b"x" * 2000
    for esp in ("sparkpost", "mailgun"):
        answer = post(client, esp, broken, token=password, content_type=form)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "body"), esp


def test_an_attempt_that_is_numbered_nought_has_no_number(client: Client, password: str) -> None:
    post(client, "sendgrid", [sendgrid("deferred", attempt="0")], token=password)
    assert rows("attempt_number") == [None]


def test_a_body_that_is_none_is_refused(client: Client, password: str) -> None:
    for esp, body in (
        ("sendgrid", b"{"),
        ("sendgrid", b"7"),
        ("postmark", b"[]"),
        ("mailtrap", b"[]"),
        ("postmark", b""),
    ):
        assert post(client, esp, body, token=password).status_code == 400, (esp, body)
    assert (
        post(client, "mandrill", b"a=b", token=password, content_type="application/x-www-form-urlencoded").status_code
        == 400
    )


def test_a_body_over_the_limit_is_refused(client: Client, password: str, settings: Any) -> None:
    settings.MAX_BODY_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2000
    assert post(client, "sendgrid", [sendgrid(reason="x" * 3000)], token=password).status_code == 413


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_written_is_answered_503_so_that_the_esp_tries_again(
    client: Client, password: str
) -> None:
    with unwritable_database():
        assert post(client, "sendgrid", [sendgrid()], token=password).status_code == 503
    assert post(client, "sendgrid", [sendgrid()], token=password).json()["duplicates"] == 0


def test_no_address_is_kept_in_an_id_where_the_operator_keeps_domains_only(
    client: Client, password: str, settings: Any
) -> None:
    settings.RECIPIENTS_OF_FAILURES = "domain"
    post(client, "sendgrid", [sendgrid(reason=f"550 5.1.1 {WHO} unknown")], token=password)
    post(client, "amazon_ses", ses(ses_bounce()), token=password, headers=SNS_HEADERS)
    assert "ann" not in str(list(SendingEvent.objects.values()))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from([WHO, "0.0.0.0", ISO, AT, "\x00", "9" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
SEEDS = {
    "sendgrid": sendgrid(), "mailgun": mailgun(), "postmark": postmark(), "sparkpost": sparkpost(),
    "amazon_ses": ses(ses_bounce()), "mandrill": {"event": "hard_bounce", "ts": AT, "msg": {"email": WHO, "smtp_events": []}},
}  # fmt: skip


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else []
    return [path for name, child in inner for path in [(*before, name), *paths(child, (*before, name))]]


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, bytes]:
    esp = draw(st.sampled_from(sorted(ESPS)))
    event = json.loads(json.dumps(SEEDS.get(esp) or draw(st.sampled_from(list(SEEDS.values())))))
    if esp == "amazon_ses" and draw(st.booleans()):
        inner = json.loads(event["Message"])
        *parents, last = draw(st.sampled_from(paths(inner)))
        at: Any = inner
        for name in parents:
            at = at[name]
        at[last] = draw(JSON)
        event["Message"] = json.dumps(inner)
    for *parents, last in draw(st.lists(st.sampled_from(paths(event)), max_size=2)):
        at = event
        for name in parents:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[last] = draw(JSON)
    return esp, draw(st.sampled_from([json.dumps(event).encode()] * 4 + [draw(st.binary(max_size=60))]))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spoilt())
def test_a_spoilt_record_is_read_or_refused_and_nothing_else(record: tuple[str, bytes]) -> None:
    esp, raw = record
    try:
        for event in ESP_PARSERS[f"esp_{esp}"].events(raw, NOON, {"outbound": "192.0.2.1"}):
            assert event.occurred_at.tzinfo is not None
            assert "\x00" not in repr((event.reply, event.message_id, event.node, event.classification))
    except ParseError:
        return  # named and kept; anything else fails the test
