"""The shapes of warm-ups in the API: fields, bodies, answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from reputation.api.acts import ReasonBody
from reputation.domain.warmup import LONGEST_DAYS, MOST_RECIPIENTS, Unit
from reputation.domain.warmup_policy import State, Step
from reputation.models import Warmup, WarmupEvent, WarmupTemplate
from telemetry.api.common import DomainField, IpField, Query
from telemetry.api.words import NamedChoiceField


class WarmupStateField(NamedChoiceField):
    """Where a warm-up is in its life; only a running one limits anything."""

    component = "WarmupState"
    words = [state.value for state in State]


class WarmupStepField(NamedChoiceField):
    """What happened to a warm-up."""

    component = "WarmupStep"
    words = [step.value for step in Step]


class WarmupUnitField(NamedChoiceField):
    """What an amount is for: the whole local day, or each hour of it."""

    component = "WarmupUnit"
    words = [unit.value for unit in Unit]


class KindField(NamedChoiceField):
    """A sending IP or a sending domain."""

    component = "SenderKind"
    words = ["ip", "domain"]


class AmountsField(serializers.ListField):
    """Recipients on each day of a schedule."""

    child = serializers.IntegerField(min_value=1, max_value=MOST_RECIPIENTS)

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_length": 1, "max_length": LONGEST_DAYS, **options})


class ProviderAmountsField(serializers.DictField):
    """The same by mailbox provider id, where a provider gets less."""

    child = AmountsField()


class TodaySerializer(serializers.Serializer[Any]):
    """The window in force: the local day, or the hour of it."""

    starts = serializers.DateTimeField(source="plan.starts")
    ends = serializers.DateTimeField(source="plan.ends")
    limit = serializers.IntegerField(source="plan.limit", help_text="Recipients.")
    used = serializers.IntegerField(help_text="So far: counted or permitted, whichever is more.")
    counted = serializers.IntegerField(source="plan.counted", help_text="By the events, however the attempts ended.")
    provider_limits = serializers.DictField(source="plan.provider_limits", child=serializers.IntegerField())
    provider_counted = serializers.DictField(source="plan.provider_counted", child=serializers.IntegerField())


class WarmupSerializer(serializers.ModelSerializer[Warmup]):
    """How a warm-up stands."""

    kind = KindField()
    state = WarmupStateField()
    unit = WarmupUnitField()
    days = serializers.IntegerField(help_text="How many days the schedule has.")
    amounts = AmountsField()
    provider_amounts = ProviderAmountsField()
    found = serializers.CharField(help_text="Why it was detected; empty: a person began it.")
    today = TodaySerializer(allow_null=True, help_text="Null unless it runs.")

    class Meta:
        model = Warmup
        fields = [
            "id",
            "kind",
            "sender",
            "state",
            "found",
            "template",
            "unit",
            "day",
            "days",
            "on_date",
            "time_zone",
            "today",
            "amounts",
            "provider_amounts",
            "reason",
            "created_at",
            "started_at",
            "ended_at",
        ]


class WarmupEventSerializer(serializers.ModelSerializer[WarmupEvent]):
    """One transition, with what was planned and used on the day that was judged."""

    step = WarmupStepField()
    from_state = serializers.CharField(help_text="Empty: there was none.")
    to_state = WarmupStateField()
    standing = serializers.CharField(help_text="The worst of that day; empty: not judged.")

    class Meta:
        model = WarmupEvent
        fields = [
            "id",
            "at",
            "step",
            "from_state",
            "to_state",
            "from_day",
            "to_day",
            "on_date",
            "used",
            "planned",
            "standing",
            "automated",
            "triggered_by",
            "policy_revision",
            "notes",
        ]


class WarmupQuery(Query):
    """Filters of the list of warm-ups."""

    state = WarmupStateField(required=False)
    kind = KindField(required=False)
    sender = serializers.CharField(required=False, help_text="A sending IP or domain, exactly.")


class StartBody(ReasonBody):
    """Whom to warm up, by which numbers, and why."""

    sending_ip = IpField(required=False)
    sending_domain = DomainField(required=False)
    template = serializers.SlugRelatedField(
        slug_field="name", queryset=WarmupTemplate.objects.all(), required=False, help_text="Its name."
    )
    amounts = AmountsField(required=False, help_text="Instead of a template: recipients on each day.")
    provider_amounts = ProviderAmountsField(required=False)
    unit = WarmupUnitField(required=False)
    full_volume = serializers.IntegerField(
        required=False, min_value=1, max_value=MOST_RECIPIENTS, help_text="For a template in percent: recipients a day."
    )
    day = serializers.IntegerField(required=False, default=1, min_value=1, help_text="Of the schedule, to begin with.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One sender, and one schedule."""
        if ("sending_ip" in attrs) == ("sending_domain" in attrs):
            raise serializers.ValidationError({"sending_ip": "Give either sending_ip or sending_domain."})
        if ("template" in attrs) == ("amounts" in attrs):
            raise serializers.ValidationError({"template": "Give either template or amounts."})
        for name in ("provider_amounts", "unit"):
            if name in attrs and "template" in attrs:
                raise serializers.ValidationError({name: "The template says that."})
        return attrs


class SkipBody(ReasonBody):
    """How far, and why."""

    days = serializers.IntegerField(default=1, help_text="Days of the schedule to go on; negative: back.")


class DetectedSerializer(serializers.Serializer[Any]):
    """What a look for new and cold senders came to."""

    made = serializers.IntegerField(help_text="Warm-ups proposed or started.")
