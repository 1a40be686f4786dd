"""The self-test over HTTP: simulations and the fifteen scenarios. For admins, and only where it is switched on."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import scenarios
from reputation.api.serializers import StatusField
from reputation.domain.decision import Decision
from reputation.domain.scenarios import MAX_SENT, SCENARIOS, Failure
from telemetry.api.common import ApiView, Body, DomainField, IpField, body_of, documented
from telemetry.domain.clean import LONGEST_REPLY
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.errors import BadBody
from telemetry.permissions import AdminsOnly

# Lines of a simulation; more prove nothing more.
MOST_FAILURES = 1000


class FailureBody(Body):
    """So many refusals with one code at one recipient domain."""

    code = serializers.RegexField(
        r"^[45](\.[0-9]{1,3}\.[0-9]{1,3}|[0-9]{2})$",
        help_text="Enhanced code, or three digits where the reply has none.",
        error_messages={"invalid": "This is not a failure code such as 5.7.1, 4.7.0 or 550."},
    )
    domain = DomainField(help_text="Recipient domain.")
    count = serializers.IntegerField(min_value=1, max_value=MAX_SENT)
    reason = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=LONGEST_REPLY, help_text="Reply text."
    )


class SimulationBody(Body):
    """The traffic of one window."""

    ip = IpField()
    total_sent = serializers.IntegerField(min_value=1, max_value=MAX_SENT, help_text="Failures included.")
    failures = FailureBody(many=True, max_length=MOST_FAILURES)  # type: ignore[call-arg]

    def validate_ip(self, value: str) -> str:
        """Somebody's."""
        if value == UNKNOWN_IP:
            raise serializers.ValidationError("The unknown IP has no standing.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """No more failures than messages."""
        failed = sum(failure["count"] for failure in attrs["failures"])
        if failed > attrs["total_sent"]:
            raise serializers.ValidationError({"failures": f"{failed} failures are more than were sent."})
        return attrs


class MetricsSerializer(serializers.Serializer[Decision]):
    """The numbers that a status rests on."""

    total_sent = serializers.IntegerField(allow_null=True)
    total_rejected = serializers.IntegerField()
    rejection_ratio = serializers.FloatField(source="ratio", allow_null=True, help_text="0 to 1.")
    unique_recipient_domains = serializers.IntegerField()
    counts_by_code = serializers.DictField(child=serializers.IntegerField())
    major_providers = serializers.ListField(child=serializers.CharField())
    tiers_reached = serializers.ListField(child=serializers.CharField())
    temporary = serializers.IntegerField()
    permanent = serializers.IntegerField()


class SimulationSerializer(serializers.Serializer[Any]):
    """What the standing would be."""

    ip = serializers.CharField()
    ip_status = StatusField()
    issue_type = serializers.CharField()
    rule = serializers.CharField()
    metrics = MetricsSerializer()
    summary = serializers.CharField()
    recommendations = serializers.ListField(child=serializers.CharField())


class TestFailureSerializer(serializers.Serializer[Failure]):
    """So many refusals with one code at one recipient domain."""

    code = serializers.CharField()
    domain = serializers.CharField()
    count = serializers.IntegerField()


class TestCaseSerializer(serializers.Serializer[Any]):
    """One of the fifteen scenarios."""

    id = serializers.IntegerField(source="number")
    name = serializers.CharField()
    ip = serializers.CharField()
    total_sent = serializers.IntegerField(source="sent")
    failures = TestFailureSerializer(many=True)
    expected_status = StatusField(source="expected")


class TestResultSerializer(serializers.Serializer[scenarios.Result]):
    """How one scenario went."""

    id = serializers.IntegerField(source="scenario.number")
    name = serializers.CharField(source="scenario.name")
    passed = serializers.BooleanField()
    expected_status = StatusField(source="scenario.expected")
    actual_status = StatusField(source="decision.status", allow_null=True, default=None)
    rejection_ratio = serializers.FloatField(source="decision.ratio", allow_null=True, default=None)
    failure_count = serializers.IntegerField(source="decision.total_rejected", allow_null=True, default=None)
    seconds = serializers.FloatField(help_text="Time taken.")
    error = serializers.CharField(help_text="Why it could not be run; empty where it could.")


class SuiteSerializer(serializers.Serializer[Any]):
    """How all fifteen went."""

    total = serializers.IntegerField()
    passed = serializers.IntegerField()
    failed = serializers.IntegerField()
    seconds = serializers.FloatField()
    results = TestResultSerializer(many=True)


class SelfTestView(ApiView):
    """For admins; 404 where the operator has switched the self-test off."""

    permission_classes = [AdminsOnly]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Permission first, then the switch."""
        super().initial(request, *args, **kwargs)
        if not settings.SELF_TEST_API:
            raise exceptions.NotFound("The self-test is switched off here (GS_SELF_TEST_API).")


class SimulateFailures(SelfTestView):
    """What would the standing be?"""

    @documented(
        "testing",
        "testing_simulate_failures",
        "Simulate the traffic of a sending IP",
        answers={200: SimulationSerializer},
        body=SimulationBody,
        problems=[404],
        examples=[
            OpenApiExample(
                "A burnt IP",
                request_only=True,
                value={
                    "ip": "203.0.113.13",
                    "total_sent": 500,
                    "failures": [
                        {"code": "5.7.1", "domain": "gmail.com", "count": 12, "reason": "550 5.7.1 refused"},
                        {"code": "5.7.1", "domain": "outlook.com", "count": 10},
                        {"code": "5.7.1", "domain": "yahoo.com", "count": 8},
                    ],
                },
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """Play the traffic through events, counters and decision under the policies in force; nothing of it is kept."""
        body = body_of(request, SimulationBody)
        failures = [Failure(**failure) for failure in body["failures"]]
        try:
            decision = scenarios.simulate(body["ip"], body["total_sent"], failures, now=timezone.now())
        except ValueError as error:
            raise BadBody("failures", str(error)) from None
        answer = {
            "ip": body["ip"],
            "ip_status": decision.status.value,
            "issue_type": decision.issue_type.value,
            "rule": decision.rule.value,
            "metrics": decision,
            "summary": decision.why,
            "recommendations": decision.recommendations,
        }
        return Response(SimulationSerializer(answer).data)


class TestCases(SelfTestView):
    """The fifteen scenarios."""

    @documented(
        "testing",
        "testing_test_cases",
        "List the scenarios",
        answers={200: TestCaseSerializer(many=True)},
        problems=[404],
    )
    def get(self, request: Request) -> Response:
        """Each with its traffic and the status that it must lead to."""
        return Response(TestCaseSerializer(SCENARIOS, many=True).data)


class RunTestCase(SelfTestView):
    """One scenario."""

    @documented(
        "testing",
        "testing_run_test_case",
        "Run a scenario",
        answers={200: TestResultSerializer},
        problems=[404],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Play it under the documented default policy; nothing of it is kept."""
        scenario = scenarios.find(pk)
        if scenario is None:
            raise exceptions.NotFound(f"There is no scenario {pk}; they are 1 to {len(SCENARIOS)}.")
        return Response(TestResultSerializer(scenarios.run(scenario, now=timezone.now())).data)


class RunTestSuite(SelfTestView):
    """All fifteen scenarios."""

    @documented(
        "testing", "testing_run_test_suite", "Run all scenarios", answers={200: SuiteSerializer}, problems=[404]
    )
    def post(self, request: Request) -> Response:
        """Play them one after the other; nothing of them is kept."""
        start = time.perf_counter()
        results = scenarios.run_all(now=timezone.now())
        passed = sum(result.passed for result in results)
        answer = {
            "total": len(results),
            "passed": passed,
            "failed": len(results) - passed,
            "seconds": time.perf_counter() - start,
            "results": results,
        }
        return Response(SuiteSerializer(answer).data)
