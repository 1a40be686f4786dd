"""The shapes that the endpoints of this floor answer with."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from reputation.domain.policy import Status
from reputation.models import (
    AuditEntry,
    IpStanding,
    IpStandingHistory,
    Judgement,
    Override,
    SenderScore,
    SenderScoreHistory,
)
from telemetry.api.words import NamedChoiceField


class StatusField(NamedChoiceField):
    """The standing of a sending IP."""

    component = "Status"
    words = [status.value for status in Status]


class PenaltySerializer(serializers.Serializer[dict[str, Any]]):
    """Points taken off a score, and why."""

    reason = serializers.CharField()
    points = serializers.IntegerField()
    rate = serializers.FloatField(help_text="0 to 1.")
    threshold = serializers.FloatField(help_text="0 to 1.")


class RateSerializer(serializers.Serializer[dict[str, Any]]):
    """A rate with both its numbers and its 95 % Wilson interval, 0 to 1."""

    value = serializers.FloatField(allow_null=True, help_text="Null where the denominator is 0.")
    numerator = serializers.IntegerField()
    denominator = serializers.IntegerField()
    denominator_name = serializers.CharField(help_text="What it is a share of, such as “delivered + bounced”.")
    interval = serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2)


class ScoreSerializer(serializers.ModelSerializer[SenderScore]):
    """A score over 24 hours: what it is, what it was made of, and how sure it is."""

    penalties = PenaltySerializer(many=True)
    rates = serializers.DictField(child=RateSerializer(), help_text="delivery, bounce and complaint; {} without mail.")

    class Meta:
        model = SenderScore
        fields = [
            "provider",
            "score",
            "confidence",
            "has_recent_mail",
            "delivered",
            "bounced",
            "deferred",
            "complained",
            "rates",
            "penalties",
            "window_start",
            "window_end",
            "computed_at",
        ]


class DomainScoreSerializer(ScoreSerializer):
    """The score of a sending domain."""

    sending_domain = serializers.CharField(source="name")

    class Meta(ScoreSerializer.Meta):
        fields = ["sending_domain", *ScoreSerializer.Meta.fields, "first_seen_at"]


class DomainSerializer(DomainScoreSerializer):
    """A sending domain: its own score, and the one at each mailbox provider."""

    provider_scores = ScoreSerializer(many=True)

    class Meta(DomainScoreSerializer.Meta):
        fields = [*DomainScoreSerializer.Meta.fields, "provider_scores"]


class ScoreHistorySerializer(serializers.ModelSerializer[SenderScoreHistory]):
    """A score as it was."""

    class Meta:
        model = SenderScoreHistory
        fields = ["computed_at", "provider", "score", "delivered", "bounced", "complained"]


class OverrideSerializer(serializers.ModelSerializer[Override]):
    """A person's word on an IP, which beats the automation."""

    status = StatusField()
    created_by = serializers.CharField(source="created_by.username", allow_null=True, default=None)

    class Meta:
        model = Override
        fields = ["kind", "status", "reason", "created_by", "created_at", "expires_at"]


class IpSerializer(serializers.ModelSerializer[IpStanding]):
    """The current standing of a sending IP in short. The rows come from `queries.with_surroundings`."""

    status = StatusField(help_text="The override's where there is one.")
    automatic_status = StatusField(help_text="What the rules alone say.")
    label = serializers.CharField(source="place.label", default="")  # type: ignore[assignment]
    pool = serializers.CharField(source="place.pool.name", allow_null=True, default=None, help_text="Null: none.")
    override = OverrideSerializer(allow_null=True)
    score = serializers.IntegerField(
        source="score.score", allow_null=True, default=None, help_text="Over 24 hours, 0 to 100; null: not known."
    )

    class Meta:
        model = IpStanding
        fields = [
            "sending_ip",
            "label",
            "pool",
            "status",
            "automatic_status",
            "override",
            "since",
            "issue_type",
            "why",
            "total_sent",
            "total_rejected",
            "rejection_ratio",
            "score",
            "computed_at",
        ]


class ReputationSerializer(IpSerializer):
    """Everything about the current standing of a sending IP."""

    volume = serializers.SerializerMethodField(
        help_text="Where total_sent comes from: events, reported, or unknown (then it is null and there is no ratio)."
    )
    sent_definition = serializers.SerializerMethodField(help_text="What total_sent counts.")
    counts_by_code = serializers.DictField(child=serializers.IntegerField(), help_text="Refused attempts by raw code.")
    major_providers = serializers.ListField(child=serializers.CharField(), help_text="Those that refused.")
    recommendations = serializers.ListField(child=serializers.CharField(), help_text="Most urgent first.")
    metadata = serializers.DictField()
    score = ScoreSerializer(allow_null=True)  # type: ignore[assignment]
    provider_scores = ScoreSerializer(many=True)

    class Meta(IpSerializer.Meta):
        fields = [
            "sending_ip",
            "label",
            "pool",
            "status",
            "automatic_status",
            "override",
            "since",
            "rule",
            "issue_type",
            "why",
            "recommendations",
            "window_start",
            "window_end",
            "volume",
            "total_sent",
            "sent_definition",
            "total_rejected",
            "rejection_ratio",
            "unique_recipient_domains",
            "counts_by_code",
            "major_providers",
            "policy_revision",
            "computed_at",
            "metadata",
            "score",
            "provider_scores",
        ]

    def get_volume(self, row: IpStanding) -> str:
        """events, reported or unknown."""
        return str(row.metadata.get("volume", "unknown"))

    def get_sent_definition(self, row: IpStanding) -> str:
        """The definition in force; empty for an IP that was never judged."""
        return str(row.metadata.get("sent_definition", ""))


class IpHistorySerializer(serializers.ModelSerializer[IpStandingHistory]):
    """What one run found out about an IP."""

    status = StatusField()
    automatic_status = StatusField()

    class Meta:
        model = IpStandingHistory
        fields = [
            "computed_at",
            "window_start",
            "window_end",
            "status",
            "automatic_status",
            "rule",
            "issue_type",
            "total_sent",
            "total_rejected",
            "rejection_ratio",
            "unique_recipient_domains",
            "policy_revision",
        ]


class JudgementSerializer(serializers.ModelSerializer[Judgement]):
    """What somebody said of an automatic change."""

    class Meta:
        model = Judgement
        fields = ["verdict", "note", "judged_at", "judged_by"]


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """One change of standing, or one act of a person."""

    metadata = serializers.DictField()
    judgement = JudgementSerializer(allow_null=True, read_only=True, help_text="Null where nobody judged it.")

    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "at",
            "sending_ip",
            "subject",
            "action",
            "previous",
            "new",
            "reason",
            "triggered_by",
            "metadata",
            "judgement",
        ]
