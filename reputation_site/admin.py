"""What the doors for people keep, in the admin: failed logins that count, and who has a second factor."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from reputation_site.doors import second_factor
from reputation_site.doors.records import note
from telemetry.admin.parts import ReadOnlyAdmin, acting_user, column
from telemetry.domain.access import AccessKind

# django-otp's own pages show the secrets.
admin.site.unregister(TOTPDevice)
admin.site.unregister(StaticDevice)


@admin.register(AccessAttempt)
class FailedLoginAdmin(ReadOnlyAdmin):
    """Failed logins that count towards a lock. To delete a row is to unlock."""

    list_display = ("attempt_time", "username", "ip_address", "failures_since_start", "state", "user_agent")
    fields = ("attempt_time", "username", "ip_address", "failures_since_start", "user_agent")
    search_fields = ("username", "ip_address")
    empty_hint = "Nobody has typed a wrong password of late."

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may delete a row may unlock."""
        return request.user.has_perm("axes.delete_accessattempt")

    @column("state", words={"locked": "danger", "counted": ""})
    def state(self, row: AccessAttempt) -> str:
        """Whether this row alone locks."""
        return "locked" if row.failures_since_start >= settings.AXES_FAILURE_LIMIT else "counted"


@admin.register(TOTPDevice)
class SecondFactorAdmin(ReadOnlyAdmin):
    """Who has a second factor; never its secret."""

    list_display = ("user", "created_at", "last_used_at", "wrong_codes")
    fields = ("user", "created_at", "last_used_at", "wrong_codes")
    list_select_related = ("user",)
    search_fields = ("user__username",)
    actions = ("remove_selected",)
    empty_hint = "Nobody has set one up. Everybody may, under “Second factor” in the side bar."

    @column("wrong codes in a row")
    def wrong_codes(self, row: TOTPDevice) -> int:
        """Each makes the next one wait twice as long."""
        return int(row.throttling_failure_count)

    @admin.action(description="Remove the second factor of the selected", permissions=["view"])
    def remove_selected(self, request: HttpRequest, queryset: QuerySet[TOTPDevice]) -> None:
        """For who lost phone and recovery codes; superusers only, because it opens somebody else's door."""
        if not acting_user(request).is_superuser:
            messages.error(request, "Only a superuser removes the second factor of others.")
            return
        for device in queryset.select_related("user"):
            second_factor.remove(device.user)
            by = f"by {acting_user(request).get_username()}"
            note(AccessKind.SECOND_FACTOR_REMOVED, device.user, request, by)
            messages.success(request, f"{device.user} logs in with the password alone now.")
