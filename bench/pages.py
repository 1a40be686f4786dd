"""The console's pages over HTTP as a browser asks for them: 500 sending IPs, 5,000 sending domains, 30 days.

The last day's counters are those of `bench.scale`; the days before are its copies. Beside them stands the page of an
empty search: the same frame, session and middleware, and nothing to show.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from bench.http import web  # noqa: E402
from bench.load import percentile  # noqa: E402
from bench.scale import fill_counters, ip  # noqa: E402
from reputation import breakers, scores, standing  # noqa: E402
from telemetry.domain.cells import floor_day, floor_hour  # noqa: E402
from telemetry.models import Source  # noqa: E402
from telemetry.retention import ensure_policies  # noqa: E402

EVENTS, DAYS, ASKED = 250_000, 30, 40
DOMAIN = "sender0.example"
PAGES = {
    "a page with nothing to show": "/search/",
    "overview": "/",
    "overview, the part that is fetched anew": "/overview/fleet",
    "IP": f"/ips/{ip(0)}/",
    "domain": f"/domains/{DOMAIN}/",
    "by mailbox provider, 24 h": "/providers/",
    "one mailbox provider": "/providers/google/",
    "breakers": "/breakers/",
    "blocklists": "/blocklists/",
    "GET /api/dashboard/ip-health": "/api/dashboard/ip-health",
    "GET /api/ips/{ip}/reputation": f"/api/ips/{ip(0)}/reputation",
}


def copy_days(days: int, now: datetime) -> None:
    """The rolled-up counters of the last 24 hours again for the days before."""
    steps = {
        "hour": (floor_hour(now) - timedelta(hours=23), range(1, days)),
        # 24 hours touch two days.
        "day": (floor_day(now) - timedelta(days=1), range(2, days, 2)),
    }
    postgres = connection.vendor == "postgresql"
    for kind, (level, (first, earlier)) in itertools.product(("traffic", "refusal"), steps.items()):
        table = f"telemetry_{kind}{level}"
        with connection.cursor() as cursor:
            columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
            others = ", ".join(f'"{column}"' for column in columns if column not in ("id", "bucket"))
            for day in earlier:
                bucket = f"bucket - INTERVAL '{day} days'" if postgres else f"datetime(bucket, '-{day} days')"
                # A key begins with its bucket's minute.
                key = (
                    f"(lpad(to_hex((extract(epoch FROM {bucket}) / 60)::bigint), 8, '0') || substr(id::text, 9))::uuid"
                    if postgres
                    else f"printf('%08x', strftime('%s', {bucket}) / 60) || substr(id, 9)"
                )
                cursor.execute(
                    f"INSERT INTO {table} (id, bucket, {others}) SELECT {key}, {bucket}, {others} FROM {table} "
                    "WHERE bucket >= %s ON CONFLICT DO NOTHING",
                    [connection.ops.adapt_datetimefield_value(first)],
                )


def asked(url: str, cookie: str) -> tuple[int, float]:
    """The status of an answer and how long it took to come whole, in seconds."""
    request = urllib.request.Request(url, headers={"Cookie": cookie})
    begun = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        error.read()
        status = error.code
    return status, time.perf_counter() - begun


def main() -> None:
    """Fill, serve, ask; print the rows as JSON."""
    quick = "--quick" in sys.argv
    ensure_policies()
    now = timezone.now()
    fill_counters(Source.objects.create(name="bench"), EVENTS // 10 if quick else EVENTS, now)
    copy_days(3 if quick else DAYS, now)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    standing.score_ips(now=timezone.now())
    scores.score_senders(now=timezone.now())
    breakers.check_all(now=timezone.now())
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    table: list[dict[str, Any]] = []
    with web(1) as url:
        for name, path in PAGES.items():
            asked(f"{url}{path}", cookie)
            found = [asked(f"{url}{path}", cookie) for _ in range(5 if quick else ASKED)]
            times = sorted(took for _, took in found)
            numbers = [percentile(times, share) for share in (0.5, 0.95)]
            table.append(
                {
                    "page": name,
                    "status": "/".join(str(status) for status in sorted({status for status, _ in found})),
                    "p50 / p95 / longest, ms": " / ".join(f"{value:.0f}" for value in [*numbers, times[-1] * 1000]),
                }
            )
    print(json.dumps(table))


if __name__ == "__main__":
    main()
