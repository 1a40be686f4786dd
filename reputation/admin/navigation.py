"""The admin's side bar: what happened, what it means, what was decided, what keeps it running."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

# Title, symbol (Material Symbols, which unfold carries), model.
_GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "What happened",
        (
            ("Sources", "dns", "telemetry.source"),
            ("Events", "mail", "telemetry.sendingevent"),
            ("Rejected events", "error", "telemetry.rejectedevent"),
            ("Unknown reports", "mark_email_unread", "telemetry.unknownreport"),
            ("Reported volumes", "bar_chart", "telemetry.volumereport"),
            ("Causes of refusals", "rule", "telemetry.causerule"),
            ("Mailbox providers", "domain_verification", "telemetry.mailboxprovider"),
            ("Edition of the causes", "published_with_changes", "telemetry.ruleset"),
            ("Servers' own counts", "rule", "telemetry.completenessreading"),
            ("Traffic by minute", "timeline", "telemetry.trafficminute"),
            ("Traffic by hour", "timeline", "telemetry.traffichour"),
            ("Traffic by day", "timeline", "telemetry.trafficday"),
            ("Refusals by minute", "block", "telemetry.refusalminute"),
            ("Refusals by hour", "block", "telemetry.refusalhour"),
            ("Refusals by day", "block", "telemetry.refusalday"),
        ),
    ),
    (
        "Standing",
        (
            ("IP standing", "verified_user", "reputation.ipstanding"),
            ("Scores", "speed", "reputation.senderscore"),
            ("Overrides", "gavel", "reputation.override"),
            ("Circuit breakers", "power_off", "reputation.breaker"),
            ("Breaker transitions", "swap_horiz", "reputation.breakerevent"),
            ("Warm-ups", "local_fire_department", "reputation.warmup"),
            ("Warm-up transitions", "stairs", "reputation.warmupevent"),
            ("Record of permits", "fact_check", "reputation.permitminute"),
            ("Budgets", "data_usage", "reputation.budget"),
            ("KumoMTA servers", "hub", "reputation.kumoserver"),
            ("Acts at KumoMTA", "outgoing_mail", "reputation.kumoact"),
            ("Alerts", "notifications", "reputation.alert"),
            ("What became of alerts", "swap_horiz", "reputation.alertevent"),
            ("Alert deliveries", "outgoing_mail", "reputation.alertdelivery"),
            ("Audits", "fact_check", "reputation.audittarget"),
            ("Audit reports", "assignment", "reputation.auditreport"),
            ("Blocklist listings", "playlist_remove", "reputation.listing"),
            ("Listing changes", "swap_horiz", "reputation.listingevent"),
            ("Audit log", "history_edu", "reputation.auditentry"),
            ("Judgements", "thumbs_up_down", "reputation.judgement"),
            ("IP history", "history", "reputation.ipstandinghistory"),
            ("Score history", "history", "reputation.senderscorehistory"),
        ),
    ),
    (
        "Policy",
        (
            ("Pools", "workspaces", "reputation.pool"),
            ("Sending IPs", "lan", "reputation.sendingip"),
            ("Domains of pools", "alternate_email", "reputation.pooldomain"),
            ("Policies", "policy", "reputation.policy"),
            ("Policy revisions", "difference", "reputation.policyrevision"),
            ("Sending policies", "tune", "reputation.sendingpolicy"),
            ("Sending policy revisions", "difference", "reputation.sendingpolicyrevision"),
            ("Limits per provider", "vertical_align_top", "reputation.providerlimit"),
            ("Breaker policies", "tune", "reputation.breakerpolicy"),
            ("Breaker policy revisions", "difference", "reputation.breakerpolicyrevision"),
            ("Warm-up policies", "tune", "reputation.warmuppolicy"),
            ("Warm-up policy revisions", "difference", "reputation.warmuppolicyrevision"),
            ("Warm-up templates", "stacked_line_chart", "reputation.warmuptemplate"),
            ("Blocklists", "format_list_bulleted", "reputation.blocklist"),
            ("Alert rules", "notification_settings", "reputation.alertrule"),
            ("Alert channels", "campaign", "reputation.alertchannel"),
            ("Code tiers", "layers", "reputation.codetier"),
            ("Tier minima", "filter_1", "reputation.tierminimum"),
            ("Major providers", "domain", "reputation.majorproviderdomain"),
        ),
    ),
    (
        "System",
        (
            ("Retention", "auto_delete", "telemetry.retentionpolicy"),
            ("Source tokens", "key", "telemetry.sourcetoken"),
            ("API tokens", "vpn_key", "telemetry.apitoken"),
            ("Access log", "door_front", "telemetry.accessrecord"),
            ("Users", "person", "auth.user"),
            ("Groups", "group", "auth.group"),
            ("Second factors", "phonelink_lock", "otp_totp.totpdevice"),
            ("Failed logins", "lock_clock", "axes.accessattempt"),
            ("Periodic tasks", "schedule", "telemetry.lease"),
            ("Followed files", "description", "telemetry.followedfile"),
            ("Metrics pages", "monitoring", "telemetry.metricswatch"),
            ("Stalwart: connections", "cable", "telemetry.stalwartconnect"),
            ("Stalwart: held outcomes", "hourglass_bottom", "telemetry.stalwartheld"),
            ("Unused event types", "unpublished", "telemetry.unusedeventtype"),
            ("Postfix queue", "outbox", "telemetry.postfixqueueentry"),
            ("Deferred messages", "pending", "telemetry.messagestate"),
            ("Blocklist test points", "rule", "reputation.blocklistcanary"),
            ("Watermarks", "bookmark", "reputation.watermark"),
            ("Receipts", "receipt", "telemetry.receipt"),
            ("Waiting to be judged", "hourglass", "telemetry.changedsender"),
            ("Roll-up mark", "flag", "telemetry.rollupmark"),
        ),
    ),
)
_SELF_TEST = "admin:reputation_scenarios"


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups with the items that this user may see; an empty group is left out."""
    groups: list[dict[str, Any]] = []
    for title, entries in _GROUPS:
        items = [_item(request, *entry) for entry in entries if _sees(request, entry[2])]
        if items:
            groups.append({"title": title, "separator": True, "collapsible": True, "items": items})
    return groups


def _item(request: HttpRequest, title: str, symbol: str, model: str) -> dict[str, Any]:
    link = reverse(f"admin:{model.replace('.', '_')}_changelist")
    active = request.path.startswith(link) and request.path != reverse(_SELF_TEST)
    return {"title": title, "icon": symbol, "link": link, "active": active}


def _sees(request: HttpRequest, model: str) -> bool:
    app, name = model.split(".")
    return request.user.has_perm(f"{app}.view_{name}") or request.user.has_perm(f"{app}.change_{name}")
