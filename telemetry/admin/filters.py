"""Filters of lists: by time in UTC, by counter bucket, by the exact text of a column."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date, parse_time
from unfold.contrib.filters.forms import SearchForm

from telemetry.domain.cells import first_key
from telemetry.domain.clean import received_from

if TYPE_CHECKING:
    from django.contrib import admin

    RangeFilter: TypeAlias = admin.FieldListFilter
    TextFilter: TypeAlias = admin.FieldListFilter
else:
    from django.contrib.admin import FieldListFilter as TextFilter
    from unfold.contrib.filters.admin import RangeDateTimeFilter as RangeFilter


class TimeFilter(RangeFilter):
    """From … to …, in UTC; a date without a time is its midnight, and "to" is left out of the range."""

    def between(self) -> tuple[datetime | None, datetime | None]:
        """Both ends as they were asked for; None where nothing or nonsense was."""
        return self._moment("from"), self._moment("to")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows within the range."""
        start, end = self.between()
        if start is not None:
            queryset = queryset.filter(**{f"{self.field_path}__gte": start})
        if end is not None:
            queryset = queryset.filter(**{f"{self.field_path}__lt": end})
        return queryset

    def _moment(self, end: str) -> datetime | None:
        day, clock = (str(self.used_parameters.get(f"{self.field_path}_{end}_{part}") or "") for part in (0, 1))
        try:
            date, time = parse_date(day), parse_time(clock or "00:00")
        except ValueError:
            return None
        return datetime.combine(date, time, tzinfo=UTC) if date and time else None


class EventTimeFilter(TimeFilter):
    """The same over raw events, which lie in partitions by the day of receipt: days that cannot hold any stay shut."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows within the range."""
        start, _ = self.between()
        if start is not None:
            queryset = queryset.filter(received_at__gte=received_from(start))
        return super().queryset(request, queryset)


class BucketFilter(TimeFilter):
    """The same over counters, whose keys begin with the bucket: a range of time is a range of the primary key."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of buckets within the range."""
        start, end = (moment and _countable(moment) for moment in self.between())
        if start is not None:
            queryset = queryset.filter(pk__gte=first_key(start))
        if end is not None:
            queryset = queryset.filter(pk__lt=first_key(end))
        return queryset


class ExactFilter(TextFilter):
    """Rows whose column says exactly this."""

    template = "unfold/filters/filters_field.html"

    def expected_parameters(self) -> list[str | None]:
        """The column's own name, so that links can be written by hand."""
        return [self.field_path]

    def has_output(self) -> bool:
        """There is always a box to type into."""
        return True

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The box, with what was typed."""
        given = self.used_parameters.get(self.field_path)
        value = given[-1] if isinstance(given, list) else given
        label = f"{str(self.title).capitalize()} is exactly"
        yield {"form": SearchForm(name=self.field_path, label=label, data={self.field_path: value})}


def _countable(moment: datetime) -> datetime:
    """The moment within the years that a key can hold."""
    return min(max(moment, datetime(1970, 1, 1, tzinfo=UTC)), datetime(2100, 1, 1, tzinfo=UTC))
