"""The shapes of the ingest API, for the OpenAPI document; decoding itself is done by the parsers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from telemetry.api.words import NamedChoiceField
from telemetry.domain.vocab import EventType
from telemetry.parsers.documented import FAILURE, SUCCESS


class DocumentedTypeField(NamedChoiceField):
    """The type of a documented event."""

    component = "DocumentedType"
    words = [FAILURE, SUCCESS]


class OutcomeField(NamedChoiceField):
    """What became of a batch."""

    component = "BatchOutcome"
    words = ["success", "partial", "failed"]


class FieldErrorSerializer(serializers.Serializer[dict[str, str]]):
    """One thing that is wrong."""

    field = serializers.CharField()
    message = serializers.CharField()


class ProblemSerializer(serializers.Serializer[dict[str, object]]):
    """An error answer (RFC 9457)."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]


class EventErrorSerializer(FieldErrorSerializer):
    """What is wrong with one event of a batch."""

    index = serializers.IntegerField(help_text="Place in the batch, from 0.")


class AcceptedSerializer(serializers.Serializer[dict[str, object]]):
    """What became of a batch; the events in `errors` are kept as rejected, the others are stored."""

    status = OutcomeField()
    processed = serializers.IntegerField(help_text="Stored, whether now or already before.")
    failed = serializers.IntegerField()
    total = serializers.IntegerField()
    duplicates = serializers.IntegerField(help_text="Of the processed: known before.")
    errors = EventErrorSerializer(many=True, help_text="The first hundred.")  # type: ignore[assignment]


class DocumentedDataSerializer(serializers.Serializer[dict[str, object]]):
    """The `data` of a documented event."""

    ip = serializers.CharField(help_text="Sending IP.")
    recipient = serializers.CharField()
    smtp_code = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=599)
    enhanced_code = serializers.CharField(required=False, allow_null=True, help_text="RFC 3463, such as 5.7.1.")
    reason = serializers.CharField(required=False, allow_null=True)
    mx = serializers.CharField(required=False, allow_null=True)
    attempt_number = serializers.IntegerField(required=False, allow_null=True, min_value=0)
    sender = serializers.CharField(required=False, allow_null=True, help_text="Envelope sender.")
    message_id = serializers.CharField(required=False, allow_null=True, help_text="Queue id, the same at each attempt.")


class DocumentedEventSerializer(serializers.Serializer[dict[str, object]]):
    """One documented event."""

    id = serializers.CharField(help_text="Stable over retries.")
    createdAt = serializers.DateTimeField()  # noqa: N815 - the documented name
    type = DocumentedTypeField()
    data = DocumentedDataSerializer()  # type: ignore[assignment]


class DocumentedBatchSerializer(serializers.Serializer[dict[str, object]]):
    """A body of the documented webhook."""

    events = DocumentedEventSerializer(many=True)


class GenericEventSerializer(serializers.Serializer[dict[str, object]]):
    """One event in our own words."""

    type = serializers.ChoiceField(choices=[word.value for word in EventType])
    occurred_at = serializers.DateTimeField(help_text="RFC 3339 or Unix seconds; without zone it is UTC.")
    sending_ip = serializers.CharField(required=False, allow_null=True)
    sending_domain = serializers.CharField(required=False, allow_null=True)
    sender = serializers.CharField(required=False, allow_null=True)
    recipient = serializers.CharField(required=False, allow_null=True)
    recipient_domain = serializers.CharField(required=False, allow_null=True)
    mx_host = serializers.CharField(required=False, allow_null=True)
    smtp_code = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=599)
    enhanced_code = serializers.CharField(required=False, allow_null=True)
    reply = serializers.CharField(required=False, allow_null=True)
    attempt_number = serializers.IntegerField(required=False, allow_null=True, min_value=0)
    message_id = serializers.CharField(required=False, allow_null=True)
    classification = serializers.CharField(required=False, allow_null=True)
    node = serializers.CharField(required=False, allow_null=True)
    event_id = serializers.CharField(required=False, allow_null=True, help_text="Stable over retries.")


class VolumeReportSerializer(serializers.Serializer[dict[str, object]]):
    """How many messages an IP sent between two whole minutes."""

    ip = serializers.IPAddressField()
    sent = serializers.IntegerField(min_value=0, help_text="Attempts that ended in this stretch, refusals included.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add `from` and `to`; the first is a word of Python's."""
        fields = super().get_fields()
        fields["from"] = serializers.DateTimeField(help_text="A whole minute.")
        fields["to"] = serializers.DateTimeField(help_text="A whole minute; not part of the stretch.")
        return fields


class VolumeAnswerSerializer(serializers.Serializer[dict[str, object]]):
    """How many reports were stored."""

    status = serializers.CharField()
    stored = serializers.IntegerField()
