"""The beat table: which task ticks when. Tasks are idempotent; a tick that comes twice or late does no harm."""

from typing import Any

from celery.schedules import crontab

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "poll changed senders": {"task": "reputation.tasks.poll_changes", "schedule": 3.0, "options": {"expires": 3}},
    "roll up counters": {
        "task": "telemetry.tasks.roll_up",
        "schedule": crontab(minute="*/5"),
        "options": {"expires": 240},
    },
    "score every sender": {
        "task": "reputation.tasks.score_all",
        "schedule": crontab(minute="*/5"),
        "options": {"expires": 240},
    },
    "lift expired overrides": {
        "task": "reputation.tasks.expire_overrides",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    "clean up telemetry": {"task": "telemetry.tasks.clean_up", "schedule": crontab(hour="2", minute="0")},
    "clean up history": {"task": "reputation.tasks.clean_up", "schedule": crontab(hour="2", minute="0")},
}
