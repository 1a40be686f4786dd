"""Permits: may this be sent now, and by which sending IP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import permit_keeper, permits
from reputation.domain.permit import Action, Answer, Ask, Rule
from reputation.domain.sending_policy import Mode
from reputation.models import PermitMinute
from telemetry.api.common import (
    ApiView,
    Body,
    DomainField,
    IpField,
    NewestFirst,
    PeriodQuery,
    between,
    body_of,
    documented,
    equal,
    page_of,
    query_of,
)
from telemetry.api.words import NamedChoiceField
from telemetry.authentication import ApiTokenAuthentication, SourceAuthentication
from telemetry.domain.clean import LONGEST_ADDRESS
from telemetry.models import Source

# How the OpenAPI document names who may ask: classes that only vary how a token is read have no name of their own.
SOURCE_TOKEN: Any = [{"sourceToken": []}]
EITHER_TOKEN: Any = [{"apiToken": []}, *SOURCE_TOKEN]
MOST_AT_ONCE = 1_000
MOST_RECIPIENTS = 1_000_000


class PermitActionField(NamedChoiceField):
    """Send it (allow), ask again later (defer), or never in this form (reject)."""

    component = "PermitAction"
    words = [action.value for action in Action]


class PermitRuleField(NamedChoiceField):
    """What can speak about a permit."""

    component = "PermitRule"
    words = [rule.value for rule in Rule]


class SendingModeField(NamedChoiceField):
    """Whether an answer binds the mail server."""

    component = "SendingMode"
    words = [mode.value for mode in Mode]


class AskBody(Body):
    """One question."""

    sender = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=LONGEST_ADDRESS,
        help_text="The envelope sender; empty or <>: the null sender, which is never held back.",
    )
    sending_domain = DomainField(required=False, help_text="Instead of the sender.")
    recipient = serializers.CharField(
        required=False, default="", max_length=LONGEST_ADDRESS, help_text="An address, or its domain."
    )
    provider = serializers.CharField(
        required=False, default="", max_length=60, help_text="A mailbox provider's id, where it is known."
    )
    recipients = serializers.IntegerField(required=False, default=1, min_value=1, max_value=MOST_RECIPIENTS)
    sending_ip = IpField(required=False)
    pool = serializers.CharField(
        required=False, default="", max_length=100, help_text="Instead of an IP. Default: the sending domain's pool."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A sender, and an IP or a pool."""
        if ("sender" in attrs) == ("sending_domain" in attrs):
            raise serializers.ValidationError({"sender": "Give either sender or sending_domain."})
        if attrs["pool"] and "sending_ip" in attrs:
            raise serializers.ValidationError({"pool": "Give either sending_ip or pool."})
        return attrs


class PermitBody(AskBody):
    """One question, or up to 1,000 of them."""

    permits = AskBody(many=True, required=False, min_length=1, max_length=MOST_AT_ONCE)  # type: ignore[call-arg]
    spend = serializers.BooleanField(
        required=False, default=True, help_text="False: look only; nothing is counted against any limit."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Either one or many."""
        if "permits" not in attrs:
            return super().validate(attrs)
        if "sender" in attrs or "sending_domain" in attrs:
            raise serializers.ValidationError({"permits": "Give either permits or one question."})
        return attrs


class VoiceSerializer(serializers.Serializer[Any]):
    """One rule's word."""

    rule = PermitRuleField()
    action = PermitActionField()
    reason = serializers.CharField()


class PermitSerializer(serializers.Serializer[Any]):
    """The answer to one question."""

    action = PermitActionField(help_text="What to do: in the modes observe and warn always allow.")
    verdict = PermitActionField(help_text="What the rules say, and what enforce would do.")
    rule = PermitRuleField(help_text="The rule that decided.")
    reason = serializers.CharField()
    mode = SendingModeField()
    retry_after = serializers.IntegerField(allow_null=True, help_text="Seconds until it makes sense to ask again.")
    until = serializers.DateTimeField(allow_null=True)
    pool = serializers.CharField()
    provider = serializers.CharField(allow_blank=True)
    sending_ips = serializers.ListField(
        child=serializers.CharField(), help_text="Those that may send this, in the order to use them."
    )
    voices = VoiceSerializer(many=True, help_text="Every rule that spoke.")


class PermitsSerializer(PermitSerializer):
    """One answer, or `permits` with one answer per question."""

    permits = PermitSerializer(many=True, required=False)


class MayAsk(BasePermission):
    """A source, or a person with the permission to ask."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether this caller may ask."""
        if isinstance(request.auth, Source):
            return True
        return bool(request.user and request.user.is_staff and request.user.has_perm("reputation.ask_permits"))


class BearerOfEither(SourceAuthentication):
    """A source's token; tried after the API token, so that one header serves both."""


class AnyToken(ApiTokenAuthentication):
    """An API token where it is one; else the source's turn."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """The person and token, None where this is no API token."""
        try:
            return super().authenticate(request)
        except exceptions.AuthenticationFailed:
            return None


class Permits(ApiView):
    """Ask before sending."""

    authentication_classes = [AnyToken, BearerOfEither]
    permission_classes = [MayAsk]
    write_permission = "reputation.ask_permits"  # names the scope that a token needs; MayAsk looks at it
    is_act = False  # a question, asked for every message

    @extend_schema(auth=EITHER_TOKEN)
    @documented(
        "permits",
        "permits_ask",
        "Ask whether something may be sent now",
        answers={200: PermitsSerializer},
        body=PermitBody,
        problems=[503],
        examples=[
            OpenApiExample(
                "One",
                value={"sender": "news@shop.example", "recipient": "someone@gmail.com", "recipients": 1},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """What is allowed is counted against the limits at once: ask once for each message, when it is to be sent."""
        body, now = body_of(request, PermitBody), timezone.now()
        questions = body.get("permits")
        asks = [_ask(question) for question in (questions if questions is not None else [body])]
        unknown = sorted({ask.pool for ask in asks if ask.pool} - set(permits.desk().books.current().pools))
        if unknown:
            raise serializers.ValidationError({"pool": f"There is no pool {unknown[0][:100]!r}."})
        answers = permits.ask(asks, now=now, spend=body["spend"])
        permit_keeper.ensure()
        told = [answer_as_json(answer, now) for answer in answers]
        return Response({"permits": told} if questions is not None else told[0])


class PermitMinuteSerializer(serializers.ModelSerializer[PermitMinute]):
    """What was asked and answered in one minute. Where nothing held mail back, by pool only."""

    mode = SendingModeField()
    action = PermitActionField(help_text="What the rules said.")
    rule = PermitRuleField()
    was_held_back = serializers.BooleanField(read_only=True)

    class Meta:
        model = PermitMinute
        fields = [
            "id",
            "minute",
            "pool",
            "mode",
            "action",
            "was_held_back",
            "rule",
            "sending_domain",
            "sending_ip",
            "provider",
            "asks",
            "recipients",
            "reason",
        ]


class PermitLogQuery(PeriodQuery):
    """Filters of the record of permits."""

    action = PermitActionField(required=False)
    mode = SendingModeField(required=False)
    rule = PermitRuleField(required=False)
    pool = serializers.CharField(required=False)
    sending_domain = serializers.CharField(required=False)
    sending_ip = serializers.CharField(required=False)
    provider = serializers.CharField(required=False)


class PermitLog(ApiView):
    """The record of permits."""

    @documented(
        "permits",
        "permits_log",
        "List what was asked and answered, minute by minute",
        answers={200: PermitMinuteSerializer},
        query=PermitLogQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """In the modes observe and warn, rows that do not say allow are what enforce would have held back."""
        query = query_of(request, PermitLogQuery)
        names = ("action", "mode", "rule", "pool", "sending_domain", "sending_ip", "provider")
        rows = equal(between(PermitMinute.objects.all(), "minute", query), query, names)
        return page_of(request, rows, PermitMinuteSerializer, NewestFirst)


def answer_as_json(answer: Answer, now: datetime) -> dict[str, Any]:
    """An answer as it is told, whichever way in was taken: the fields of PermitSerializer."""
    until = answer.until
    return {
        "action": answer.action.value,
        "verdict": answer.verdict.value,
        "rule": answer.rule.value,
        "reason": answer.reason,
        "mode": answer.mode.value,
        "retry_after": max(1, round((until - now).total_seconds())) if until is not None else None,
        "until": until,
        "pool": answer.pool,
        "provider": answer.provider,
        "sending_ips": list(answer.ips),
        "voices": [
            {"rule": voice.rule.value, "action": voice.action.value, "reason": voice.reason} for voice in answer.voices
        ],
    }


def _ask(body: dict[str, Any]) -> Ask:
    return Ask(
        sender=body.get("sender", body.get("sending_domain", "")),
        recipient=body["recipient"],
        provider=body["provider"],
        recipients=body["recipients"],
        ip=body.get("sending_ip", ""),
        pool=body["pool"],
    )
