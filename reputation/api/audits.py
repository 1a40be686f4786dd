"""Audits: what was found about each sender's DNS and mail servers, what to publish, and what to look at."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema_field
from rest_framework import exceptions, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from reputation import audits
from reputation.domain.audit.findings import Check, Result
from reputation.models import AuditReport, AuditTarget
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
    domain_in_path,
    equal,
    ip_in_path,
    page_of,
    person,
    query_of,
)
from telemetry.api.words import NamedChoiceField
from telemetry.errors import Conflict

WRITE = "reputation.change_audittarget"


class AuditKindField(NamedChoiceField):
    """What is audited."""

    component = "AuditKind"
    words = ["ip", "domain"]


class AuditWhyField(NamedChoiceField):
    """Why an audit ran."""

    component = "AuditWhy"
    words = ["weekly", "asked", "causes"]


class AuditCheckField(NamedChoiceField):
    """What was looked at."""

    component = "AuditCheck"
    words = [check.value for check in Check]


class AuditResultField(NamedChoiceField):
    """How a check ended; a problem takes the check's points off, the others nothing."""

    component = "AuditResult"
    words = [result.value for result in Result]


class AuditFindingSerializer(serializers.Serializer[Any]):
    """One thing that an audit found."""

    check = AuditCheckField()
    result = AuditResultField()
    about = serializers.CharField(help_text="The domain, host, selector or IP.")
    says = serializers.CharField(help_text="What was found, in a sentence.")
    seen = serializers.ListField(child=serializers.CharField(), help_text="Records and replies as they came.")
    why = serializers.CharField(help_text="Why it matters.")
    publish = serializers.ListField(child=serializers.CharField(), help_text="The exact records to publish.")


class AuditDiagnosisSerializer(serializers.Serializer[Any]):
    """What the refusals come from."""

    title = serializers.CharField(help_text="“DNS, not reputation” where problems explain at least half of them.")
    says = serializers.CharField()
    evidence = AuditFindingSerializer(many=True)


class AuditLineSerializer(serializers.ModelSerializer[AuditReport]):
    """One audit without its findings."""

    kind = AuditKindField()
    why = AuditWhyField()
    evidence = serializers.DictField(
        child=serializers.IntegerField(), help_text="Refusals of the 24 hours before by cause, where they brought it."
    )

    class Meta:
        model = AuditReport
        fields = [
            "id",
            "kind",
            "subject",
            "at",
            "score",
            "problems",
            "unchecked",
            "why",
            "asked_by",
            "evidence",
            "is_latest",
        ]


class AuditSerializer(AuditLineSerializer):
    """One audit with its findings, worst first, and the diagnosis of the refusals since."""

    findings = AuditFindingSerializer(many=True)
    diagnosis = serializers.SerializerMethodField(help_text="Of the latest audit; null where DNS explains no refusals.")

    class Meta(AuditLineSerializer.Meta):
        fields = [*AuditLineSerializer.Meta.fields, "findings", "diagnosis"]

    @extend_schema_field(AuditDiagnosisSerializer(allow_null=True))
    def get_diagnosis(self, row: AuditReport) -> Any:
        """Whether the last day's refusals come from what was found."""
        told = audits.diagnosis_of(row, now=timezone.now()) if row.is_latest else None
        return AuditDiagnosisSerializer(told).data if told else None


class AuditQuery(PeriodQuery):
    """Filters of the list of audits."""

    kind = AuditKindField(required=False)
    subject = serializers.CharField(required=False, help_text="A sending IP or domain, exactly.")
    why = AuditWhyField(required=False)
    latest = serializers.BooleanField(required=False, allow_null=True, default=None, help_text="Only each one's last.")
    score_below = serializers.IntegerField(required=False, min_value=0, max_value=101)


class AuditBody(Body):
    """Whom to audit."""

    sending_ip = IpField(required=False)
    sending_domain = DomainField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One sender, of one kind."""
        if ("sending_ip" in attrs) == ("sending_domain" in attrs):
            raise serializers.ValidationError({"sending_ip": "Give either sending_ip or sending_domain."})
        return attrs


class Audits(ApiView):
    """All audits."""

    write_permission = WRITE

    @documented(
        "audits",
        "audits_list",
        "List audits",
        answers={200: AuditLineSerializer},
        query=AuditQuery,
        pages=NewestFirst,
    )
    def get(self, request: Request) -> Response:
        """Newest first, without their findings; `latest=true` gives each sender's last one."""
        query = query_of(request, AuditQuery)
        rows = equal(between(AuditReport.objects.all(), "at", query), query, ("kind", "subject", "why"))
        if query["latest"] is not None:
            rows = rows.filter(is_latest=query["latest"])
        if "score_below" in query:
            rows = rows.filter(score__lt=query["score_below"])
        return page_of(request, rows, AuditLineSerializer, NewestFirst)

    @documented(
        "audits",
        "audits_run",
        "Audit a sender now",
        answers={201: AuditSerializer},
        body=AuditBody,
        problems=[409],
        examples=[OpenApiExample("Example", value={"sending_domain": "shop.example"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Ask DNS (and the MX hosts, where that is switched on) and answer the report; 409 while another audit runs."""
        body = body_of(request, AuditBody)
        kind, name = ("ip", body["sending_ip"]) if "sending_ip" in body else ("domain", body["sending_domain"])
        _check_name(kind, name)
        try:
            report = audits.audit(kind, name, now=timezone.now(), user=person(request))
        except audits.BusyError:
            raise Conflict(f"{name} is being audited right now.") from None
        return Response(AuditSerializer(report).data, status=status.HTTP_201_CREATED)


def _check_name(kind: str, name: str) -> None:
    """Raise 400 for what cannot be audited: the unknown IP, an address literal."""
    target = AuditTarget(kind=kind, name=name)
    target.clean()


class AuditById(ApiView):
    """One audit."""

    @documented("audits", "audits_retrieve", "Show an audit", answers={200: AuditSerializer}, problems=[404])
    def get(self, request: Request, pk: int) -> Response:
        """Its findings: what was seen, why it matters, what to publish."""
        return Response(AuditSerializer(get_object_or_404(AuditReport, pk=pk)).data)


class IpAudit(ApiView):
    """The last audit of a sending IP."""

    @documented(
        "ips", "ips_audit", "Show the last audit of a sending IP", answers={200: AuditSerializer}, problems=[400, 404]
    )
    def get(self, request: Request, ip: str) -> Response:
        """What was found last, and whether it explains the refusals of the last 24 hours."""
        return _latest("ip", ip_in_path(ip))


class DomainAudit(ApiView):
    """The last audit of a sending domain."""

    @documented(
        "domains",
        "domains_audit",
        "Show the last audit of a sending domain",
        answers={200: AuditSerializer},
        problems=[400, 404],
    )
    def get(self, request: Request, domain: str) -> Response:
        """What was found last, and whether it explains the refusals of the last 24 hours."""
        return _latest("domain", domain_in_path(domain))


def _latest(kind: str, name: str) -> Response:
    report = audits.latest(kind, name)
    if report is None:
        raise exceptions.NotFound(f"{name} was not audited yet.")
    return Response(AuditSerializer(report).data)
