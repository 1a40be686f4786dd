"""The three groups of people: viewer, operator, admin. What each may do is this table."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS, connections

VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
ROLES = (VIEWER, OPERATOR, ADMIN)
_OURS = ("telemetry", "reputation")
# What acting on senders needs beyond looking: quarantine, release, overrides and look-ups; breakers; warm-ups; alerts;
# audits and who is audited; mending and replaying rejected events; asking for a permit by hand.
_ACTS = (
    "reputation.change_ipstanding",
    "reputation.change_breaker",
    "reputation.change_warmup",
    "reputation.change_alert",
    "reputation.add_audittarget",
    "reputation.change_audittarget",
    "telemetry.change_rejectedevent",
    "reputation.ask_permits",
)
# Who logged in from where is not for everybody who may look at senders.
_ADMINS_ONLY = ("telemetry.view_accessrecord",)
# What was there before a migration run; None: no run is under way, or the table was not there yet.
_before: set[int] | None = None


def may(role: str, app: str, codename: str) -> bool:
    """Whether members of this group have this permission to begin with."""
    if app == "auth":
        # Who may change groups could give the own one everything: that is left to superusers, as giving rights is.
        return role == ADMIN and (codename.endswith("_user") or codename == "view_group")
    if app not in _OURS:
        return False
    if role == ADMIN:
        return True
    if f"{app}.{codename}" in _ADMINS_ONLY:
        return False
    return codename.startswith("view_") or (role == OPERATOR and f"{app}.{codename}" in _ACTS)


def note_permissions(using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """Before a migration run: remember which permissions there are, so that new ones can be told afterwards."""
    global _before  # noqa: PLW0603 - the two signals of one run share nothing else
    _before = None
    if _is_there(using):
        _before = set(Permission.objects.using(using).values_list("pk", flat=True))


def ensure_groups(using: str = DEFAULT_DB_ALIAS, **_: Any) -> None:
    """After a migration run: make the groups that are missing, and give existing ones what this version newly has.

    What somebody took from a group or gave to it stays so: only permissions that did not exist before are added.
    """
    global _before
    if not _is_there(using):  # a migration backwards ends with this signal too
        return
    rows = Permission.objects.using(using).select_related("content_type")
    every = [(row.pk, row.content_type.app_label, row.codename) for row in rows]
    known, _before = _before, None
    for role in ROLES:
        group, made = Group.objects.using(using).get_or_create(name=role)
        wanted = {pk for pk, app, codename in every if may(role, app, codename)}
        new = wanted if made else wanted - known if known is not None else set()
        group.permissions.add(*new)


def _is_there(using: str) -> bool:
    with connections[using].cursor() as cursor:
        tables = set(connections[using].introspection.table_names(cursor))
    return {model._meta.db_table for model in (Permission, Group, ContentType)} <= tables
