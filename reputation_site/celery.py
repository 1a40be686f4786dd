"""The Celery application; tasks are found in the apps' ``tasks`` modules."""

import logging.config
import os
import warnings
from signal import SIGKILL
from typing import Any

from celery import Celery, signals
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]

from reputation_site.leash import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")

# Celery warns root because of pickled messages; ours are JSON only, and containers run as root.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("good_standing")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.setup_logging.connect
def keep_our_log_format(**_: Any) -> None:
    """Log as the settings say; without a receiver here Celery puts its own format in place."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


_turns: dict[str, Any] = {}


@signals.task_prerun.connect
def name_the_task(task_id: str, task: Any, **_: Any) -> None:
    """Have the log say which task, and which turn of it, a line is of."""
    from telemetry.log_context import bound

    # The task's name as it is in beat's table and on /metrics is its lease's; this one names the function.
    _turns[task_id] = bound(task=task.name, turn=task_id)
    _turns[task_id].__enter__()


@signals.task_postrun.connect
def forget_the_task(task_id: str, **_: Any) -> None:
    """The task is over."""
    if (context := _turns.pop(task_id, None)) is not None:
        context.__exit__(None, None, None)


@signals.worker_process_init.connect
def leave_no_orphan(**_: Any) -> None:
    """A pool process ends with its worker even when that was by kill -9; what it did not commit is done again."""
    die_with_parent(SIGKILL)
