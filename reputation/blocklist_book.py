"""The blocklists as they are kept: shipped ones added, edits audited, verdicts on test points remembered."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import transaction
from django.db.models import ProtectedError

from reputation.blocklist_checker import CANARY_BAD, CANARY_GOOD, AskedList, CanaryKey, Checker
from reputation.blocklist_data import shipped_lists
from reputation.domain.dnsbl import ErrorKind, Reading, Result
from reputation.models import AuditEntry, Blocklist, BlocklistCanary

_PLAIN = (
    *("name", "operator", "kind", "zone", "keyed_zone", "needs", "tier", "weight", "match", "listed", "not_listed"),
    *("bits", "informational_bits", "test_listed", "delist_url", "delist_note", "notes", "source"),
)
# What an audit row tells of a list. Its key is not among it.
_AUDITED = (*_PLAIN, "ipv4", "ipv6", "is_enabled", "resolver", "resolver_port", "queries_per_second")


def ensure_blocklists() -> None:
    """Add shipped lists that the table lacks; runs after every migration. What is there stays as it was edited."""
    present = set(Blocklist.objects.values_list("name", flat=True))
    rows = [_shipped(entry) for entry in shipped_lists() if entry["name"] not in present]
    Blocklist.objects.bulk_create(rows, ignore_conflicts=True)


def _shipped(entry: dict[str, Any]) -> Blocklist:
    families = entry.get("families", [])
    return Blocklist(
        **{name: entry[name] for name in _PLAIN if name in entry},
        is_enabled=entry["enabled"],
        ipv4=4 in families,
        ipv6=6 in families,
        builtin=True,
    )


def asked_lists() -> dict[int, Blocklist]:
    """The lists that may be asked now, by id: enabled, alive, and with what they need."""
    return {row.pk: row for row in Blocklist.objects.filter(is_enabled=True) if not row.why_not_asked}


def as_asked(row: Blocklist, *, share: int = 1) -> AskedList | None:
    """A list as one of `share` runs at once asks it; None where its key cannot be unsealed."""
    try:
        return AskedList(row.pk, row.as_zone, row.servers, row.queries_per_second / share, row.key)
    except ImproperlyConfigured:  # one key must not stop the other lists
        return None


def trusted(list_ids: Collection[int], *, now: datetime) -> dict[CanaryKey, Reading | None]:
    """The verdicts on test points that still stand: None, or why the list is not believed."""
    rows = BlocklistCanary.objects.filter(blocklist_id__in=list_ids, stands_until__gt=now)
    return {(row.blocklist_id, row.family): _verdict(row) for row in rows}


def _verdict(row: BlocklistCanary) -> Reading | None:
    return None if row.is_good else Reading(Result.ERROR, ErrorKind(row.error), row.detail)


def remember(checker: Checker, *, now: datetime) -> None:
    """Keep the verdicts that this run found."""
    rows = []
    for (list_id, family), trust in sorted(checker.trust.items()):
        if trust.is_new:
            good = trust.verdict is None
            rows.append(
                BlocklistCanary(
                    blocklist_id=list_id,
                    family=family,
                    is_good=good,
                    error=trust.verdict.error or "" if trust.verdict else "",
                    detail=trust.verdict.detail[:300] if trust.verdict else "",
                    asked_at=now,
                    stands_until=now + (CANARY_GOOD if good else CANARY_BAD),
                )
            )
    BlocklistCanary.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["blocklist", "family"],
        update_fields=["is_good", "error", "detail", "asked_at", "stands_until"],
    )


def save_blocklist(row: Blocklist, *, user: User, key: str | None = None, changed: Iterable[str] = ()) -> Blocklist:
    """Store a list that was made or edited, audited without its key; None as key: it stays. Raises ValidationError.

    The verdicts on its test points are forgotten, because it may be asked in another way now. So is the key where it
    would go to somebody else.
    """
    row.full_clean()
    is_new = row.pk is None
    before = None if is_new else Blocklist.objects.get(pk=row.pk)
    if before is not None and before.builtin and before.name != row.name:
        raise ValidationError({"name": "A shipped list keeps its name."})
    if key is not None:
        row.key = key
    elif before is not None and before.asked_at != row.asked_at:
        row.key = ""
    with transaction.atomic():
        row.save()
        BlocklistCanary.objects.filter(blocklist=row).delete()
        _audit(row, "blocklist_made" if is_new else "blocklist_changed", user, [*changed, *(["key"] if key else [])])
    return row


def delete_blocklist(row: Blocklist, *, user: User) -> None:
    """Delete a list of an operator's own that nobody was ever listed on. Raises ValidationError."""
    if row.builtin:
        raise ValidationError("A shipped list would come back with the next upgrade: switch it off instead.")
    with transaction.atomic():
        _audit(row, "blocklist_deleted", user, [])
        try:
            row.delete()
        except ProtectedError:
            raise ValidationError("What this list said is kept; switch it off instead.") from None


def _audit(row: Blocklist, action: str, user: User, changed: list[str]) -> None:
    fields = f" ({', '.join(changed)})" if changed else ""
    AuditEntry.objects.create(
        subject=row.name,
        action=action,
        reason=f"Blocklist {row.name}: {row.shown_zone}{fields}",
        triggered_by=str(user),
        user=user,
        metadata={name: getattr(row, name) for name in _AUDITED},
    )
