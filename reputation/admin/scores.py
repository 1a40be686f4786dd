"""Scores of sending IPs and domains, and how they were."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter, RangeNumericFilter

from reputation.admin.labels import SCORE_COLOURS, score_label, share
from reputation.models import SenderScore, SenderScoreHistory
from telemetry.admin.filters import ExactFilter, TimeFilter
from telemetry.admin.parts import HugeTableAdmin, ReadOnlyAdmin, as_list, column


@admin.register(SenderScore)
class SenderScoreAdmin(ReadOnlyAdmin):
    """Current scores, lowest first."""

    list_display = (
        "name",
        "kind",
        "at_provider",
        "score_shown",
        "confidence",
        "delivered",
        "bounced",
        "deferred",
        "complained",
        "recent",
    )
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("provider", ExactFilter),
        ("score", RangeNumericFilter),
        ("has_recent_mail", BooleanRadioFilter),
    )
    search_fields = ("name",)
    search_help_text = "Part of an IP or domain"
    empty_hint = "Scores appear within five minutes of the first delivery or bounce."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "kind", "at_provider"),
                    ("score_shown", "confidence", "recent"),
                    "why",
                    "rates_in_words",
                )
            },
        ),
        (
            "Numbers of 24 hours",
            {
                "fields": (
                    ("delivered", "bounced"),
                    ("deferred", "complained"),
                    ("window_start", "window_end"),
                    ("computed_at", "first_seen_at"),
                )
            },
        ),
    )

    @column("score", order="score", words=SCORE_COLOURS)
    def score_shown(self, row: SenderScore) -> tuple[str, str]:
        """The number and a word."""
        return score_label(row.score)

    @column("mailbox provider", order="provider")
    def at_provider(self, row: SenderScore) -> str:
        """Whose eyes it is seen with."""
        return row.provider or "all"

    @column("mail", words={"recent mail": "", "no recent mail": "warning"})
    def recent(self, row: SenderScore) -> str:
        """Whether the window had mail; if not, the score is the former one."""
        return "recent mail" if row.has_recent_mail else "no recent mail"

    @column("penalties")
    def why(self, row: SenderScore) -> SafeString:
        """What took points off."""
        return as_list(
            [
                f"−{entry['points']}: {str(entry['reason']).replace('_', ' ')}, {share(entry['rate'])}"
                f" (threshold {share(entry['threshold'])})"
                for entry in row.penalties
            ]
        )

    @column("rates")
    def rates_in_words(self, row: SenderScore) -> SafeString:
        """Each with its denominator and its 95 % interval."""
        return as_list(
            [
                f"{name}: {share(rate['value'])}, {rate['numerator']} of {rate['denominator']}"
                f" {rate['denominator_name']}; 95 % interval {share(rate['interval'][0])} to"
                f" {share(rate['interval'][1])}"
                for name, rate in row.rates.items()
            ]
        )


@admin.register(SenderScoreHistory)
class SenderScoreHistoryAdmin(HugeTableAdmin):
    """One row at each change of a score, and one an hour while there is mail."""

    list_display = ("computed_at", "name", "kind", "at_provider", "score_shown", "delivered", "bounced", "complained")
    list_filter = (("computed_at", TimeFilter), ("kind", ExactFilter), ("provider", ExactFilter))
    exact_ip = "name"
    exact_texts = ("name",)
    search_help_text = "An exact IP or domain"
    empty_hint = "History begins with the first score."

    @column("score", words=SCORE_COLOURS)
    def score_shown(self, row: SenderScoreHistory) -> tuple[str, str]:
        """The number and a word."""
        return score_label(row.score)

    @column("mailbox provider")
    def at_provider(self, row: SenderScoreHistory) -> str:
        """Whose eyes it is seen with."""
        return row.provider or "all"
