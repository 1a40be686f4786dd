"""What permits come to: how much of each cap is spent, and the record of what was answered. To be read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from reputation.domain.permit import Action
from reputation.domain.sending_policy import Mode
from reputation.models import Budget, PermitMinute
from reputation.permit_summary import RULE_WORDS, rule_word
from reputation.pools import percent_of
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import HugeTableAdmin, column

if TYPE_CHECKING:
    WordsFilter: TypeAlias = admin.SimpleListFilter
else:
    from unfold.contrib.filters.admin import DropdownFilter as WordsFilter

_HELD = ~Q(action=Action.ALLOW)
_TOLD = {
    "held back": _HELD & Q(mode=Mode.ENFORCE),
    "would have been held back": _HELD & ~Q(mode=Mode.ENFORCE),
    "passed": ~_HELD,
}
TOLD_COLOURS = {"held back": "danger", "would have been held back": "warning", "passed": "success"}
# From which share on a budget is worth a look.
_NEARLY = 0.8
_SPENT_COLOURS = {"spent": "danger", "nearly": "warning", "": ""}


class RuleFilter(WordsFilter):
    """By the rule that spoke."""

    title = "rule"
    parameter_name = "rule"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """The rules in words."""
        return [(rule.value, words) for rule, words in RULE_WORDS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of that rule."""
        return queryset.filter(rule=self.value()) if self.value() else queryset


class KindFilter(WordsFilter):
    """IPs or domains."""

    title = "kind of sender"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """Both."""
        return [("ip", "sending IP"), ("domain", "sending domain")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of that kind."""
        return queryset.filter(kind=self.value()) if self.value() else queryset


class WindowFilter(WordsFilter):
    """In force, or over."""

    title = "window"
    parameter_name = "window"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """Both."""
        return [("now", "in force now"), ("over", "over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of such windows."""
        now = timezone.now()
        if self.value() == "now":
            return queryset.filter(starts_at__lte=now, ends_at__gt=now)
        return queryset.filter(ends_at__lte=now) if self.value() == "over" else queryset


class ToldFilter(WordsFilter):
    """What became of it."""

    title = "what became of it"
    parameter_name = "told"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """In words."""
        return [(words, words) for words in _TOLD]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of which that became."""
        wanted = _TOLD.get(str(self.value()))
        return queryset if wanted is None else queryset.filter(wanted)


@admin.register(Budget)
class BudgetAdmin(HugeTableAdmin):
    """How much of each cap is spent, the windows that end last first; kept for seven days."""

    list_display = ("sender", "rule_label", "at_provider", "spent_of_limit", "share_spent", "starts_at", "ends_at")
    list_filter = (KindFilter, RuleFilter, WindowFilter, ("provider", ExactFilter), ("starts_at", TimeFilter))
    ordering = ("-ends_at", "key")
    exact_ip = "sender"
    exact_texts = ("sender",)
    search_help_text = "An exact sending IP or domain"
    empty_hint = "A cap has a budget from its first permit on: a warm-up, a limit of a sending policy, a probe."
    fieldsets = (
        (None, {"fields": (("sender", "kind"), ("rule_label", "at_provider"))}),
        ("Window", {"fields": (("starts_at", "ends_at"), "spent_of_limit")}),
    )

    @column("rule")
    def rule_label(self, row: Budget) -> str:
        """What made the cap."""
        return rule_word(row.rule)

    @column("mailbox provider")
    def at_provider(self, row: Budget) -> str:
        """Whose mailboxes it is about."""
        return row.provider or "all"

    @column("spent of limit")
    def spent_of_limit(self, row: Budget) -> str:
        """Recipients; the limit as it was when last asked."""
        return f"{row.spent:,} of {row.limit:,}"

    @column("spent", words=_SPENT_COLOURS)
    def share_spent(self, row: Budget) -> tuple[str, str]:
        """The same in percent."""
        share = row.spent / row.limit if row.limit else 1.0
        word = "spent" if share >= 1 else "nearly" if share >= _NEARLY else ""
        return word, percent_of(share)


@admin.register(PermitMinute)
class PermitMinuteAdmin(HugeTableAdmin):
    """What was asked and answered, minute by minute. Where nothing held mail back, by pool only."""

    list_display = (
        "minute",
        "pool",
        "told",
        "rule_label",
        "sender",
        "at_provider",
        "recipients",
        "asks",
        "reason_short",
    )
    list_filter = (
        ("minute", TimeFilter),
        ToldFilter,
        RuleFilter,
        ("mode", ChoicesDropdownFilter),
        ("pool", ExactFilter),
        ("provider", ExactFilter),
        ("sending_domain", ExactFilter),
    )
    exact_texts = ("sending_domain",)
    search_help_text = "An exact sending IP or domain"
    empty_hint = "The first permit that a mail server or an application asks for writes the first row."
    fieldsets = (
        (None, {"fields": (("minute", "pool"), ("told", "mode"), ("rule_label", "action"), "reason")}),
        ("Who and how much", {"fields": (("sending_domain", "sending_ip"), "at_provider", ("recipients", "asks"))}),
    )

    @column("what became of it", words=TOLD_COLOURS)
    def told(self, row: PermitMinute) -> str:
        """Whether the mail server was told to wait, or would have been."""
        if row.action == Action.ALLOW:
            return "passed"
        return "held back" if row.was_held_back else "would have been held back"

    @column("rule")
    def rule_label(self, row: PermitMinute) -> str:
        """What decided."""
        return rule_word(row.rule)

    @column("reason")
    def reason_short(self, row: PermitMinute) -> str:
        """Its beginning."""
        return row.reason[:100] + "…" if len(row.reason) > 100 else row.reason

    @column("sender")
    def sender(self, row: PermitMinute) -> str:
        """The domain, and the IP where the question was about one."""
        return " by ".join(name for name in (row.sending_domain, row.sending_ip) if name)

    @column("mailbox provider")
    def at_provider(self, row: PermitMinute) -> str:
        """Who would have got it, where that was recorded."""
        return row.provider
