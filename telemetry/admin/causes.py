"""Why mail is refused: the rules, the replies that none of them speaks of, and the mailbox providers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from telemetry import causes, reclassify
from telemetry.admin.parts import ModelForm, ReadOnlyAdmin, StandardAdmin, button, column
from telemetry.mailbox_providers import families
from telemetry.models import CauseRule, MailboxProvider, RuleSet
from telemetry.unmatched import draft_of, unmatched_replies

DAYS = (1, 7, 30)
# What a click may do while its page waits; the periodic task goes on from there.
_BATCHES_PER_CLICK = 20
COLOURS = {
    "reputation": "danger",
    "blocklist": "danger",
    "authentication": "warning",
    "infrastructure": "warning",
    "content": "warning",
    "rate limit": "info",
    "unknown": "",
}


class CauseRuleForm(ModelForm):
    """A rule must fit its own examples."""

    class Meta:
        model = CauseRule
        fields = "__all__"

    def clean(self) -> dict[str, Any]:
        """Say which example the patterns miss."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        row = self.instance
        for name in ("name", "order", "providers", "reply", "enhanced", "text", "category", "scope"):
            if name not in data:
                return data
        try:
            CauseRule(**{name: data[name] for name in ("reply", "enhanced", "text")}).clean()
        except ValidationError:
            return data  # told by the model
        entry = {name: data.get(name) or "" for name in causes.COLUMNS} | {"name": data["name"] or row.name}
        alone = causes.compiled_from([entry], families())
        provider = data["providers"].split(",")[0].strip()
        missed = [
            line
            for line in data.get("examples", "").splitlines()
            if line.strip() and alone.classify(provider, None, "", line).rule != entry["name"]
        ]
        if missed:
            raise ValidationError({"examples": f"The patterns do not fit this example: {missed[0][:200]}"})
        return data


@admin.register(CauseRule)
class CauseRuleAdmin(StandardAdmin):
    """Rules in the order in which they are tried."""

    form = CauseRuleForm
    list_display = ("name", "title", "order", "providers", "category_label", "scope", "confidence", "active")
    list_filter = (
        ("category", ChoicesDropdownFilter),
        ("scope", ChoicesDropdownFilter),
        ("confidence", ChoicesDropdownFilter),
        "active",
    )
    search_fields = ("name", "title", "providers", "text", "enhanced", "examples")
    search_help_text = "Part of the name, meaning, provider, pattern or examples"
    ordering = ("order", "name")
    actions_list = ("unmatched", "apply")
    empty_hint = "The shipped rules come with “manage.py migrate”."
    fieldsets = (
        ("What it is for", {"fields": (("name", "active"), "title", "examples")}),
        ("When it fits", {"fields": (("order", "providers"), ("reply", "enhanced"), "text")}),
        (
            "What it says",
            {"fields": (("category", "scope"), ("permanence", "confidence"), "advice", ("link", "source"))},
        ),
    )

    def get_urls(self) -> list[Any]:
        """Add the page of unmatched replies."""
        page = path("unmatched/", self.admin_site.admin_view(self.unmatched_page), name="telemetry_unmatched")
        return [page, *super().get_urls()]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """From the page of unmatched replies: a draft for the reply that was chosen."""
        given = super().get_changeform_initial_data(request)
        reply = request.GET.get("for_reply", "")
        if not reply:
            return dict(given)
        return draft_of(request.GET.get("for_provider", ""), reply) | {"source": "own reading"}

    def save_model(self, request: HttpRequest, obj: CauseRule, form: Any, change: bool) -> None:
        """Note when it was changed."""
        obj.changed_at = timezone.now()
        super().save_model(request, obj, form, change)

    @column("category", order="category", words=COLOURS)
    def category_label(self, row: CauseRule) -> str:
        """As words."""
        return str(row.get_category_display())

    @button("Unmatched replies", permission="view", icon="help")
    def unmatched(self, request: HttpRequest) -> HttpResponse:
        """Go to the page."""
        return redirect(reverse("admin:telemetry_unmatched"))

    @button("Classify stored refusals now", permission="change", icon="refresh")
    def apply(self, request: HttpRequest) -> HttpResponse:
        """Go on with it for some batches; the rest is done in the background."""
        progress = reclassify.reclassify(now=timezone.now(), most_batches=_BATCHES_PER_CLICK)
        rest = "" if progress.complete else " The background task looks at the rest, and at what came meanwhile."
        text = f"Looked at {progress.checked} refusals, {progress.changed} got another cause.{rest}"
        messages.success(request, text)
        return redirect(reverse("admin:telemetry_causerule_changelist"))

    def unmatched_page(self, request: HttpRequest) -> HttpResponse:
        """Replies that no rule speaks of, most frequent first."""
        if not self.has_view_permission(request):
            messages.error(request, "This page is for those who may look at the rules.")
            return redirect("admin:index")
        asked = request.GET.get("days", "")
        days = int(asked) if asked in map(str, DAYS) else 7
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Unmatched replies",
            "days": days,
            "choices": DAYS,
            "rows": unmatched_replies(now=timezone.now(), days=days),
            "state": RuleSet.objects.filter(pk=1).first(),
            "may_add": self.has_add_permission(request),
            "add_url": reverse("admin:telemetry_causerule_add"),
        }
        return TemplateResponse(request, "admin/unmatched_replies.html", context)


@admin.register(RuleSet)
class RuleSetAdmin(ReadOnlyAdmin):
    """Which edition of the rules is in force, and how far stored refusals follow it."""

    list_display = ("version", "changed_at", "state", "applied_version", "position", "changed_rows")

    @column("stored refusals", words={"up to date": "success", "being classified": "info"})
    def state(self, row: RuleSet) -> str:
        """Whether they all have the cause that the rules give them."""
        return "up to date" if row.applied_version == row.version else "being classified"


@admin.register(MailboxProvider)
class MailboxProviderAdmin(StandardAdmin):
    """The directory by which mail is counted per mailbox provider."""

    list_display = ("title", "id", "family", "kind", "mx", "active")
    list_filter = ("kind", "active")
    search_fields = ("id", "title", "mx_suffixes", "domains")
    search_help_text = "Part of the name, of an MX suffix or of a domain"
    ordering = ("id",)
    empty_hint = "The shipped directory comes with “manage.py migrate”."
    fieldsets = (
        (None, {"fields": (("id", "title"), ("family", "kind"), "active")}),
        ("How it is known", {"fields": ("mx_suffixes", "mx_globs", "domains")}),
        ("Where this is from", {"fields": ("note", "source")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What counters were counted by keeps its id."""
        return ("id",) if obj is not None else ()

    @column("MX hosts")
    def mx(self, row: MailboxProvider) -> str:
        """The first of them."""
        names = [*row.mx_suffixes, *row.mx_globs]
        return ", ".join(names[:3]) + (" …" if len(names) > 3 else "") if names else "–"
