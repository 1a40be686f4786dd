"""Which channels are told of an event, by the rules; and the rules that the product comes with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError

from reputation.domain.alerting import Kind, News, Severity, State, headline, when_due
from reputation.models import Alert, AlertChannel, AlertDelivery, AlertEvent, AlertRule, SendingIP


class Rules:
    """The enabled rules and channels, read once and only when they are needed."""

    def __init__(self) -> None:
        self._rules: list[AlertRule] | None = None
        self._default: list[AlertChannel] = []
        self._pools: dict[int, frozenset[str]] = {}

    @property
    def rules(self) -> list[AlertRule]:
        """The enabled ones."""
        if self._rules is None:
            rows = AlertRule.objects.filter(is_enabled=True).prefetch_related("channels", "escalation_channels")
            self._rules = list(rows)
            self._default = list(AlertChannel.objects.filter(is_enabled=True, is_default=True))
            self._pools = _members({rule.pool_id for rule in self._rules if rule.pool_id is not None})
        return self._rules

    def of(self, alert: Alert) -> list[AlertRule]:
        """The rules that are for this alert."""
        return [rule for rule in self.rules if self._takes(rule, alert)]

    def send(self, event: AlertEvent, alert: Alert, *, now: datetime) -> None:
        """Make the deliveries of an event; a channel is told once, however many rules name it."""
        if event.news == News.RECOVERED:
            _send_recovery(event, alert, now)
            return
        due: dict[int, tuple[datetime, AlertRule]] = {}
        for rule in self.of(alert):
            if event.news == News.ESCALATED:
                at = now if is_to_be_escalated(rule, alert, now) else None
                channels: Iterable[AlertChannel] = rule.escalation_channels.all()
            else:
                at = when_due(now, Severity(alert.severity), rule.quiet_hours)
                channels = rule.channels.all() or self._default
            for channel in channels:
                if at is not None and channel.is_enabled and (channel.pk not in due or at < due[channel.pk][0]):
                    due[channel.pk] = (at, rule)
        AlertDelivery.objects.bulk_create(
            [
                AlertDelivery(
                    event=event,
                    alert=alert,
                    channel_id=channel,
                    rule=rule,
                    kind=alert.kind,
                    news=event.news,
                    created_at=now,
                    due_at=at,
                )
                for channel, (at, rule) in sorted(due.items())
            ],
            ignore_conflicts=True,
        )

    def _takes(self, rule: AlertRule, alert: Alert) -> bool:
        members = self._pools.get(rule.pool_id, frozenset()) if rule.pool_id is not None else None
        return rule.match(members).takes(alert.kind, Severity(alert.severity), alert.subject)


def is_to_be_escalated(rule: AlertRule, alert: Alert, now: datetime) -> bool:
    """Whether by this rule the second channels should know by now."""
    after = rule.escalate_after
    return after is not None and alert.state == State.OPEN and alert.opened_at <= now - timedelta(minutes=after)


def _send_recovery(event: AlertEvent, alert: Alert, now: datetime) -> None:
    """Whoever was told that it began is told that it is over; what nobody was told yet need not be told at all."""
    waiting = AlertDelivery.objects.filter(alert=alert, state=AlertDelivery.WAITING, claim="")
    waiting.filter(attempts=0).update(state=AlertDelivery.DROPPED)
    told = AlertDelivery.objects.filter(alert=alert).exclude(state=AlertDelivery.DROPPED)
    rules = dict(told.order_by("id").values_list("channel_id", "rule_id"))
    quiet = {rule.pk: rule.quiet_hours for rule in AlertRule.objects.filter(pk__in=set(rules.values()) - {None})}
    AlertDelivery.objects.bulk_create(
        [
            AlertDelivery(
                event=event,
                alert=alert,
                channel_id=channel,
                rule_id=rule,
                kind=alert.kind,
                news=event.news,
                created_at=now,
                due_at=when_due(now, Severity.INFO, quiet.get(rule) if rule is not None else None),
            )
            for channel, rule in sorted(rules.items())
        ],
        ignore_conflicts=True,
    )


def _members(pools: set[int]) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for pool, ip in SendingIP.objects.filter(pool_id__in=pools).order_by().values_list("pool_id", "ip"):
        if pool is not None:
            found[pool].add(ip)
    return {pool: frozenset(ips) for pool, ips in found.items()}


def ensure_defaults() -> None:
    """Make the rules that the product comes with, one for each kind; what an operator changed stays."""
    known = set(AlertRule.objects.filter(builtin=True).values_list("kind", flat=True))
    for kind in Kind:
        if kind.value not in known:
            AlertRule.objects.get_or_create(name=headline(kind), defaults={"kind": kind.value, "builtin": True})


def delete_rule(rule: AlertRule) -> None:
    """Delete a rule of one's own. Raises ValidationError for a shipped one, which would come back."""
    if rule.builtin:
        raise ValidationError("A shipped rule is switched off rather than deleted: it would come back.")
    rule.delete()
