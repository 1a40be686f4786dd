"""Who may do what in the API: staff read, operators act, sources report."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from telemetry.models import Source


class StaffReadsOperatorsWrite(BasePermission):
    """Staff may read; where the view names a `read_permission`, only who has it.

    Writing needs the permission that the view names in `write_permission`; without one, an admin.
    """

    message = "Your account may not do this."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Decide by method and by the view's `write_permission`."""
        user = request.user
        if not (user and user.is_authenticated and user.is_active and getattr(user, "is_staff", False)):
            return False
        if request.method in SAFE_METHODS:
            wanted = getattr(view, "read_permission", "")
            return user.has_perm(wanted) if wanted else True
        needed = getattr(view, "write_permission", None)
        return user.has_perm(needed) if needed else bool(user.is_superuser)


class AdminsOnly(BasePermission):
    """Superusers, for what could mislead or burden the installation."""

    message = "This needs an administrator."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Only superusers, whatever the method."""
        user = request.user
        return bool(user and user.is_active and getattr(user, "is_superuser", False))


class SourcesReport(BasePermission):
    """A request that a source's token came with."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Only sources."""
        return isinstance(request.auth, Source)
