"""The beat table: which task ticks when. Tasks are idempotent; a tick that comes twice or late does no harm."""

from typing import Any

from celery.schedules import crontab

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "poll changed senders": {"task": "reputation.tasks.poll_changes", "schedule": 3.0, "options": {"expires": 3}},
    "settle Stalwart's events": {
        "task": "telemetry.tasks.settle_stalwart",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "roll up counters": {
        "task": "telemetry.tasks.roll_up",
        "schedule": crontab(minute="*/5"),
        "options": {"expires": 240},
    },
    # At the full minute: what it reads stands for whole minutes.
    "compare with servers": {
        "task": "telemetry.tasks.compare_with_servers",
        "schedule": crontab(),
        "options": {"expires": 50},
    },
    "classify refusals anew": {
        "task": "telemetry.tasks.reclassify_refusals",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "score every sender": {
        "task": "reputation.tasks.score_all",
        "schedule": crontab(minute="*/5"),
        "options": {"expires": 240},
    },
    "check every breaker": {
        "task": "reputation.tasks.check_breakers",
        "schedule": crontab(minute="*/15"),
        "options": {"expires": 600},
    },
    # Looks for transitions that no server was told of; servers are called only where there is one, and every ten
    # seconds while something is held back there.
    "apply to KumoMTA": {
        "task": "reputation.tasks.apply_to_kumomta",
        "schedule": 3.0,
        "options": {"expires": 3},
    },
    # A few minutes after any time zone's midnight; those with half an hour's offset too.
    "judge warm-ups": {
        "task": "reputation.tasks.judge_warmups",
        "schedule": crontab(minute="*/5"),
        "options": {"expires": 240},
    },
    "detect warm-ups": {"task": "reputation.tasks.detect_warmups", "schedule": crontab(hour="1", minute="0")},
    "notice changes of status": {
        "task": "reputation.tasks.notice_status_changes",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "check blocklists": {
        "task": "reputation.tasks.check_blocklists",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "audit senders that are due": {
        "task": "reputation.tasks.audit_due",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "audit refused senders": {
        "task": "reputation.tasks.audit_refused",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "raise alerts": {
        "task": "reputation.tasks.raise_alerts",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "lift expired overrides": {
        "task": "reputation.tasks.expire_overrides",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    "clean up telemetry": {"task": "telemetry.tasks.clean_up", "schedule": crontab(hour="2", minute="0")},
    "clean up doors": {"task": "reputation_site.tasks.clean_up_doors", "schedule": crontab(hour="2", minute="0")},
    "clean up history": {"task": "reputation.tasks.clean_up", "schedule": crontab(hour="2", minute="0")},
}
