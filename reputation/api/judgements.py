"""Whether the automation was right: verdicts on its changes, and the share of false alarms."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import judgements
from reputation.api.serializers import AuditEntrySerializer
from reputation.models import AuditEntry
from reputation.models.judgement import VERDICTS
from reputation.overrides import LONGEST_REASON
from telemetry.api.common import ApiView, Body, body_of, documented, person


class JudgementBody(Body):
    """A verdict, or null to take it back."""

    verdict = serializers.ChoiceField(VERDICTS, allow_null=True)
    note = serializers.CharField(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")


class FalseAlarmsSerializer(serializers.Serializer[Any]):
    """How the automatic changes of one kind were judged in the last 30 days."""

    action = serializers.CharField()
    judged = serializers.IntegerField()
    false_alarms = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True, help_text="false_alarms / judged; null where nothing was judged.")


class RevisionFalseAlarmsSerializer(FalseAlarmsSerializer):
    """The same, for one revision of the policy."""

    policy_revision = serializers.IntegerField(allow_null=True)


class JudgementsSerializer(serializers.Serializer[Any]):
    """The share of false alarms."""

    actions = FalseAlarmsSerializer(many=True)
    status_changes_by_policy_revision = RevisionFalseAlarmsSerializer(many=True)


class JudgeEntry(ApiView):
    """Judge one change."""

    write_permission = judgements.PERMISSION

    @documented(
        "audit log",
        "audit_log_judge",
        "Say whether an automatic change was right",
        answers={200: AuditEntrySerializer},
        body=JudgementBody,
        problems=[404],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Mark it right or a false alarm; null takes the mark back. Changes of people cannot be judged (400)."""
        body = body_of(request, JudgementBody)
        entry = get_object_or_404(AuditEntry, pk=pk)
        judgements.judge(entry, body["verdict"], note=body["note"], user=person(request), now=timezone.now())
        return Response(AuditEntrySerializer(AuditEntry.objects.select_related("judgement").get(pk=pk)).data)


class Judgements(ApiView):
    """How often the automation was wrong."""

    @documented(
        "audit log",
        "audit_log_judgements",
        "Show the share of false alarms",
        answers={200: JudgementsSerializer},
    )
    def get(self, request: Request) -> Response:
        """False alarms of the judged changes of the last 30 days, by kind of action and by revision of the policy."""
        now = timezone.now()
        answer = {
            "actions": [_shown(entry) for entry in judgements.false_alarms(now=now)],
            "status_changes_by_policy_revision": [
                {**_shown(entry), "policy_revision": revision} for revision, entry in judgements.by_revision(now=now)
            ],
        }
        return Response(JudgementsSerializer(answer).data)


def _shown(entry: judgements.FalseAlarms) -> dict[str, Any]:
    return {
        "action": entry.action,
        "judged": entry.judged,
        "false_alarms": entry.false_alarms,
        "rate": entry.rate,
    }
