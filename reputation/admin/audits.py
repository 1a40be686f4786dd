"""Audits: the senders that are audited with what is known of them, and every report."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter, RangeNumericFilter

from reputation import audits
from reputation.admin.labels import SCORE_COLOURS, audit_score_label
from reputation.domain.audit.findings import POINTS, TITLES, Finding, Result
from reputation.models import AuditReport, AuditTarget
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import HugeTableAdmin, StandardAdmin, acting_user, as_list, button, column, link_to

_OF_DOMAIN = ("dkim_selectors", "envelope_domain", "may_probe")
_OF_IP = ("helo_names",)


@admin.register(AuditTarget)
class AuditTargetAdmin(StandardAdmin):
    """Senders that are audited. The active ones come in by themselves; what is known of them is told here."""

    list_display = ("name", "kind", "score_shown", "problems", "audited_at", "due_at", "told")
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("score", RangeNumericFilter),
        ("audited_at", TimeFilter),
        ("may_probe", BooleanRadioFilter),
    )
    search_fields = ("name",)
    search_help_text = "Part of an IP or domain"
    actions_detail = ("audit_now",)
    readonly_fields = ("score_shown", "problems", "audited_at", "due_at", "by_causes_at", "last_report")
    empty_hint = "Senders come in with their first mail; or add one to tell what is known of it beforehand."
    fieldsets = (
        (None, {"fields": (("kind", "name"),)}),
        ("Known of a domain", {"fields": _OF_DOMAIN}),
        ("Known of an IP", {"fields": _OF_IP}),
        ("Now", {"fields": (("score_shown", "problems"), ("audited_at", "due_at"), "by_causes_at", "last_report")}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What belongs to the other kind is left out."""
        hidden = {"Now"} if obj is None else {"Known of an IP" if obj.kind == "domain" else "Known of a domain"}
        return [entry for entry in super().get_fieldsets(request, obj) if entry[0] not in hidden]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Whom a row is about never changes."""
        return (*super().get_readonly_fields(request, obj), *(("kind", "name") if obj is not None else ()))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what was changed: a run may be writing the other columns."""
        obj.save(update_fields=form.changed_data if change else None)

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may change a target may have it audited."""
        return acting_user(request).has_perm("reputation.change_audittarget")

    @column("score", order="score", words=SCORE_COLOURS)
    def score_shown(self, row: AuditTarget) -> tuple[str, str]:
        """The number and a word."""
        return self.score_of(row)

    @staticmethod
    def score_of(row: AuditTarget) -> tuple[str, str]:
        """The colour word and the text of the last audit's score."""
        return audit_score_label(row.score, audited=row.audited_at is not None)

    @column("told")
    def told(self, row: AuditTarget) -> str:
        """What people told of it."""
        return ", ".join(
            [*row.dkim_selectors, *row.helo_names, *([row.envelope_domain] if row.envelope_domain else [])]
        )

    @column("last report")
    def last_report(self, row: AuditTarget) -> SafeString:
        """What was found, and all reports."""
        report = audits.latest(row.kind, row.name)
        every = link_to("reputation_auditreport_changelist", "all reports", query={"q": row.name})
        if report is None:
            return every
        return format_html("{} · {}", link_to("reputation_auditreport_change", str(report), report.pk), every)

    @button("Audit now", permission="act", icon="fact_check")
    def audit_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask DNS at once."""
        target: AuditTarget | None = self.get_object(request, object_id)
        if target is None:
            raise Http404
        if not self.has_act_permission(request, target):
            raise PermissionDenied
        back = reverse("admin:reputation_audittarget_change", args=[target.pk])
        if request.method == "POST":
            try:
                report = audits.audit(target.kind, target.name, now=timezone.now(), user=acting_user(request))
            except audits.BusyError:
                messages.error(request, f"{target} is being audited right now.")
                return redirect(back)
            if report.score is None:
                messages.warning(request, f"{target}: nothing could be checked. Does DNS answer?")
            else:
                messages.success(request, f"{target} was audited: {report.score} of 100, {report.problems} problems.")
            return redirect("admin:reputation_auditreport_change", report.pk)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Audit now",
            "text": "Its records are looked up in DNS; where the probe is on, its MX hosts are asked. No mail is sent.",
            "headers": ("sender", "last audited", "score"),
            "rows": [(target.name, target.audited_at or "never", self.score_of(target)[1])],
            "verb": "Audit now",
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)


@admin.register(AuditReport)
class AuditReportAdmin(HugeTableAdmin):
    """Every report, newest first."""

    list_display = ("at", "subject", "kind", "score_shown", "problems", "unchecked", "why_words", "asked_by")
    list_filter = (
        ("at", TimeFilter),
        ("kind", ExactFilter),
        ("why", ChoicesDropdownFilter),
        ("is_latest", BooleanRadioFilter),
        ("score", RangeNumericFilter),
    )
    exact_ip = "subject"
    exact_texts = ("subject",)
    search_help_text = "An exact IP or domain"
    empty_hint = "The first sender with mail is audited within minutes."
    fieldsets = (
        (None, {"fields": (("subject", "kind"), ("at", "score_shown"), ("why_words", "asked_by"), "refusals")}),
        ("Findings", {"fields": ("problems_told", "advice_told", "unchecked_told", "sound_told")}),
    )

    @column("score", words=SCORE_COLOURS)
    def score_shown(self, row: AuditReport) -> tuple[str, str]:
        """The number and a word."""
        return audit_score_label(row.score, audited=True)

    @column("why it ran")
    def why_words(self, row: AuditReport) -> str:
        """What brought it."""
        return row.get_why_display()

    @column("refusals of the day before")
    def refusals(self, row: AuditReport) -> SafeString:
        """What brought it, by cause."""
        return as_list([f"{count} for {cause.replace('_', ' ')}" for cause, count in sorted(row.evidence.items())])

    @column("problems")
    def problems_told(self, row: AuditReport) -> SafeString:
        """What is wrong, with what to publish."""
        return _told(row, Result.PROBLEM)

    @column("could be better")
    def advice_told(self, row: AuditReport) -> SafeString:
        """What costs no points."""
        return _told(row, Result.ADVICE)

    @column("not checked")
    def unchecked_told(self, row: AuditReport) -> SafeString:
        """What nobody could tell."""
        return _told(row, Result.UNCHECKED)

    @column("sound")
    def sound_told(self, row: AuditReport) -> SafeString:
        """What is as it should be."""
        return _told(row, Result.OK)


def _told(row: AuditReport, result: Result) -> SafeString:
    return as_list([_line(finding) for finding in row.found if finding.result is result])


def _line(finding: Finding) -> SafeString:
    points = POINTS.get(finding.check, 0) if finding.result is Result.PROBLEM else 0
    head = f"{TITLES[finding.check]}{f' (−{points})' if points else ''}, {finding.about}: "
    return format_html(
        "<b>{}</b>{} <i>{}</i>{}{}",
        head,
        finding.says,
        finding.why,
        _records("Seen", finding.seen),
        _records("Publish", finding.publish),
    )


def _records(title: str, lines: tuple[str, ...]) -> SafeString:
    if not lines:
        return format_html("{}", "")
    listed = format_html_join("\n", "{}", ((line,) for line in lines))
    return format_html('<br>{}:<pre class="gs-json font-mono text-xs">{}</pre>', title, listed)
