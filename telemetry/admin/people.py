"""Users and groups, in the look of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from telemetry.admin.parts import StandardAdmin, acting_user, column

if TYPE_CHECKING:
    UserBase: TypeAlias = DjangoUserAdmin[User]
else:
    UserBase = DjangoUserAdmin

admin.site.unregister(User)
admin.site.unregister(Group)

# Who may give rights away could give them all to themselves.
_RIGHTS = ("is_superuser", "user_permissions", "groups", "is_staff")


@admin.register(User)
class UserAdmin(UserBase, StandardAdmin):
    """People who log in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "role", "is_active", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    filter_horizontal = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only superusers give rights."""
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if acting_user(request).is_superuser else (*fields, *_RIGHTS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only superusers change superusers: whoever sets another's password is that other."""
        allowed = super().has_change_permission(request, obj)
        protected = isinstance(obj, User) and obj.is_superuser and not acting_user(request).is_superuser
        return allowed and not protected

    @column("role", words={"administrator": "primary", "staff": "info", "no access": ""})
    def role(self, row: User) -> str:
        """What kind of account it is."""
        return "administrator" if row.is_superuser else "staff" if row.is_staff else "no access"


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, StandardAdmin):
    """Groups of rights."""

    list_display = ("name", "members")
    filter_horizontal = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        """Groups with the number of their members, in one query."""
        groups: QuerySet[Group] = super().get_queryset(request).annotate(members=Count("user"))
        return groups

    @column("members", order="members")
    def members(self, row: Any) -> int:
        """How many users are in it."""
        return int(row.members)
