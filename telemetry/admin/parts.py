"""What every admin page of the product is made of: base classes, columns, buttons. Also used by the floors above."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core import paginator
from django.db.models import GenericIPAddressField, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold import admin as unfold
from unfold.decorators import action as unfold_action
from unfold.enums import ActionVariant

if TYPE_CHECKING:  # unfold has no types; its classes do what Django's do
    ModelAdmin: TypeAlias = admin.ModelAdmin[Any]
    TabularInline: TypeAlias = admin.TabularInline[Any, Any]
    ModelForm: TypeAlias = forms.ModelForm[Any]
    Paginator: TypeAlias = paginator.Paginator[Any]
else:
    ModelAdmin, TabularInline = unfold.ModelAdmin, unfold.TabularInline
    ModelForm, Paginator = forms.ModelForm, paginator.Paginator

F = TypeVar("F", bound=Callable[..., Any])

# Beyond this a list says "more than": counting every row of a table of events would take longer than reading a page.
COUNTED_TO = 10_000
# More rows than anybody reads through before confirming.
MOST_AT_ONCE = 500


def column(
    title: str, *, order: str | None = None, words: Mapping[str, str] | None = None, empty: str | None = None
) -> Callable[[F], F]:
    """Make a method a column: its title, what it is sorted by, and the colour of each word it may say.

    Colours are unfold's: success, warning, danger, info, primary, and "" for plain. The word itself is always shown.
    """

    def decorate(function: F) -> F:
        given = {"short_description": title, "admin_order_field": order, "label": words, "empty_value_display": empty}
        for name, value in given.items():
            if value is not None:
                setattr(function, name, value)
        return function

    return decorate


def button(title: str, *, permission: str, icon: str = "", danger: bool = False) -> Callable[[F], F]:
    """Make a method a button of a page. Without the permission the button is not there and its URL answers 403."""
    decorated: Callable[[F], F] = unfold_action(
        description=title,
        permissions=[permission],
        icon=icon or None,
        variant=ActionVariant.DANGER if danger else ActionVariant.DEFAULT,
    )
    return decorated


def link_to(name: str, text: object, *args: object, query: Mapping[str, object] | None = None) -> SafeString:
    """A link to an admin page."""
    url = reverse(f"admin:{name}", args=args, query=query)
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)


def as_list(lines: Sequence[object]) -> SafeString:
    """Lines under each other; a dash where there are none."""
    if not lines:
        return SafeString("–")
    items = format_html_join("", "<li>{}</li>", ((line,) for line in lines))
    return format_html('<ul class="gs-list">{}</ul>', items)


def as_json(value: object) -> SafeString:
    """A stored structure, set out to be read."""
    written = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="gs-json font-mono text-xs">{}</pre>', written)


def acting_user(request: HttpRequest) -> User:
    """Who acts; the admin lets nobody in who is not a user."""
    assert isinstance(request.user, User)
    return request.user


class BoundedPaginator(Paginator):
    """Counts rows up to a bound, so that a page of a huge table does not count the table."""

    template_name = "admin/bounded_pagination.html"
    counted_to = COUNTED_TO

    @cached_property
    def count(self) -> int:
        """The number of rows, never more than `counted_to`."""
        return min(self._counted, self.counted_to)

    @property
    def has_more(self) -> bool:
        """Whether there are rows beyond the bound, which only a narrower filter shows."""
        return self._counted > self.counted_to

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        if isinstance(rows, QuerySet):
            return rows.order_by()[: self.counted_to + 1].count()
        return len(rows)


class StandardAdmin(ModelAdmin):
    """How every list looks. `empty_hint` is the sentence an empty list shows: what to connect or do next."""

    list_filter_submit = True
    list_fullwidth = True
    list_per_page = 50
    list_max_show_all = 200
    warn_unsaved_form = True
    empty_hint: str = ""
    empty_value_display = "–"

    def changelist_view(self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None) -> HttpResponse:
        """Show the list; an address typed into the URL that is none is refused here and not by the database."""
        for name, value in request.GET.dict().items():
            field = next((field for field in self.opts.fields if field.name == name.partition("__")[0]), None)
            if isinstance(field, GenericIPAddressField) and not is_address(str(value)):
                messages.error(request, f"{value!r} is not an IP address.")
                return redirect(request.path)
        return super().changelist_view(request, dict(extra_context or {}))

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What goes with a deleted row goes by the right to delete that row; its own page may well be read-only."""
        to_delete, counts, lacking, protected = super().get_deleted_objects(objs, request)
        return to_delete, counts, set() if self.has_delete_permission(request) else lacking, protected


class ReadOnlyAdmin(StandardAdmin):
    """What was recorded or computed: to be looked up, never to be edited, whoever asks."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody edits rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Rows go by the retention policy alone."""
        return False


class HugeTableAdmin(ReadOnlyAdmin):
    """A table too long to be counted, sorted by anything but its key, or searched by part of a word."""

    paginator = BoundedPaginator
    sortable_by = ()
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the table
    search_fields: ClassVar[tuple[str, ...]] = ("pk",)  # makes the search box appear; what it does is `exact_texts`
    exact_ip: str = "sending_ip"
    exact_texts: Sequence[str] = ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows of exactly this IP, domain or id: what an index may answer."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if self.exact_ip and is_address(term):
            return queryset.filter(**{self.exact_ip: term}), False
        if not self.exact_texts:
            return queryset.none(), False
        found = Q()
        for name in self.exact_texts:
            found |= Q(**{name: term if name == "message_id" else term.lower()})
        return queryset.filter(found), False


class ReadOnlyInline(TabularInline):
    """Rows of the same kind, shown on the page of what they belong to."""

    extra = 0
    can_delete = False
    show_change_link = False
    hide_title = True
    tab = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits rows."""
        return False


def is_address(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
