"""The small cast of the tests, and the rule that nothing is skipped in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> None:
    """SQLite in a file, as in production, so that several processes can meet in it; without waiting for the disk."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    worker = getattr(request.config, "workerinput", {}).get("workerid", "main")
    if database["ENGINE"].endswith("sqlite3"):
        database.setdefault("TEST", {})["NAME"] = str(settings.DATA_DIR / f"test-{worker}.sqlite3")
        pragmas = database["OPTIONS"]["init_command"]
        database["OPTIONS"]["init_command"] = pragmas.replace("synchronous=FULL", "synchronous=OFF")
    else:
        database.setdefault("TEST", {})["NAME"] = f"test_{worker}"


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    """Forget what processes may remember between requests."""
    from dashboard import keeping
    from reputation import budgets, permits
    from telemetry import access, ingest, limits, metric_state, retention

    budgets._database_store.cache_clear()
    permits.desk.cache_clear()
    keeping.forget()
    retention.forget_cached()
    ingest._touched.clear()
    access.forget_written()
    limits.meter.cache_clear()
    metric_state.PAGE.forget()


@pytest.fixture
def source(db: Any) -> Any:
    """A mail server that reports to us."""
    from telemetry.models import Source

    return Source.objects.create(name="mta-1", kind="generic")


@pytest.fixture
def token(source: Any) -> str:
    """The bearer token of `source`."""
    from telemetry.tokens import issue_token

    return issue_token(source)


@pytest.fixture
def make_event() -> Callable[..., Event]:
    """Build an event with believable defaults: a delivery at noon from the good sender."""

    def make(**fields: Any) -> Event:
        recipient_domain = fields.pop("recipient_domain", "gmail.com")
        defaults: dict[str, Any] = {
            "type": EventType.DELIVERY,
            "occurred_at": NOON - timedelta(minutes=1),
            "sending_ip": "192.0.2.10",
            "sending_domain": "good.example",
            "recipient": f"someone@{recipient_domain}",
            "recipient_domain": recipient_domain,
        }
        return Event(**(defaults | fields))

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """In CI a skipped test is a failed one: a missing part must be noticed."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
