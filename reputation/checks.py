"""System checks of this floor: each has an id and a hint that says the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connection

from reputation.blocklist_data import why_dead
from reputation.domain.dnsbl import KEY_PLACE
from reputation.models import Blocklist


@register(Tags.database)
def dead_blocklists(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """E006: a list that is enabled is dead. Asked only where a connection may be made."""
    if not databases or Blocklist._meta.db_table not in connection.introspection.table_names():
        return []
    found: list[CheckMessage] = []
    for row in Blocklist.objects.filter(is_enabled=True):
        why = why_dead(row.shown_zone.replace(KEY_PLACE, "key"))
        if why:
            found.append(
                Error(
                    f"The blocklist {row.name} ({row.shown_zone}) is dead: {why}. It is never asked.",
                    hint="Switch it off in the admin (Blocklists).",
                    id="good_standing.E006",
                )
            )
    return found
