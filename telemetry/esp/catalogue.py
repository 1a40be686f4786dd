"""The providers: where django-anymail reads each, and by what a request of theirs is known to be genuine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Envelope(StrEnum):
    """How a request's body holds its events."""

    WHOLE = "whole"
    """The body is the record."""
    ARRAY = "array"
    """A JSON array; a lone object is taken too."""
    EVENTS = "events"
    """``{"events": [...]}``."""
    FORM = "form"
    """A form with the JSON array in `mandrill_events`."""


@dataclass(frozen=True, slots=True)
class Esp:
    """One provider. `slug` names it in our URLs."""

    slug: str
    title: str
    view: str
    """Import path of its view."""
    secret: str = ""
    """The view's argument for the key that bodies are signed with; empty where the provider signs nothing."""
    placeholder: bool = False
    """Whether the view cannot be made without a key, not even to read a body that was checked before."""
    envelope: Envelope = Envelope.WHOLE

    @property
    def signs(self) -> bool:
        """Whether the provider signs its requests with a key that the source can hold."""
        return bool(self.secret)


def _anymail(module: str, view: str) -> str:
    return f"anymail.webhooks.{module}.{view}TrackingWebhookView"


ESPS: dict[str, Esp] = {
    esp.slug: esp
    for esp in (
        Esp("amazon_ses", "Amazon SES", "telemetry.esp.views.AmazonSes"),
        Esp("brevo", "Brevo", _anymail("brevo", "Brevo")),
        Esp("mailersend", "MailerSend", _anymail("mailersend", "MailerSend"), "signing_secret", placeholder=True),
        Esp("mailgun", "Mailgun", _anymail("mailgun", "Mailgun"), "webhook_signing_key", placeholder=True),
        Esp("mailjet", "Mailjet", _anymail("mailjet", "Mailjet"), envelope=Envelope.ARRAY),
        Esp("mailtrap", "Mailtrap", _anymail("mailtrap", "Mailtrap"), "tracking_secret", envelope=Envelope.EVENTS),
        Esp("mandrill", "Mandrill", _anymail("mandrill", "Mandrill"), "webhook_key", envelope=Envelope.FORM),
        Esp("postal", "Postal", _anymail("postal", "Postal"), "webhook_key", placeholder=True),
        Esp("postmark", "Postmark", _anymail("postmark", "Postmark")),
        Esp("resend", "Resend", "telemetry.esp.views.Resend", "svix_secret"),
        Esp(
            "sendgrid",
            "SendGrid",
            _anymail("sendgrid", "SendGrid"),
            "tracking_webhook_verification_key",
            envelope=Envelope.ARRAY,
        ),
        Esp("sparkpost", "SparkPost", _anymail("sparkpost", "SparkPost"), envelope=Envelope.ARRAY),
        Esp("unisender_go", "Unisender Go", _anymail("unisender_go", "UnisenderGo"), "api_key", placeholder=True),
    )
}
