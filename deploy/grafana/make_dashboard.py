"""Writes good-standing.json, the Grafana dashboard: ``python deploy/grafana/make_dashboard.py``.

Change the panels here, never in the JSON. Gauges from the database are the same on every machine, hence max.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ON = 'job=~"$job"'


@dataclass(frozen=True)
class Panel:
    """One chart, table or number: what it shows and what that means to somebody."""

    title: str
    description: str
    queries: tuple[tuple[str, str], ...]
    """PromQL and legend."""
    unit: str
    kind: str = "timeseries"
    width: int = 12
    most: float | None = None
    thresholds: tuple[tuple[float, str], ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    """Words for values, such as 0 for healthy."""


def quantile(share: float, metric: str, by: str = "") -> str:
    """The quantile of a histogram over five minutes."""
    words = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({words}) (rate({metric}_bucket{{{ON}}}[5m])))"


STATUSES = (("0", "healthy"), ("1", "warning"), ("2", "quarantine"), ("3", "blacklisted"))
BY_STATUS = ((1, "yellow"), (2, "orange"), (3, "red"))
ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Standing",
        (
            Panel(
                "Sending IPs by status",
                "How many sending IPs are healthy, warned, in quarantine or blacklisted.",
                ((f"max by (status) (sending_ips{{{ON}}})", "{{status}}"),),
                "short",
                "stat",
                8,
            ),
            Panel(
                "Open alerts",
                "Alerts that are open or acknowledged, by severity. The console's Alerts page says which.",
                ((f"sum by (severity) (max by (kind, severity) (alerts{{{ON}}}))", "{{severity}}"),),
                "short",
                "stat",
                8,
            ),
            Panel(
                "Listings and open breakers",
                "IPs and domains on blocklists by the list's tier, and circuit breakers that hold mail back.",
                (
                    (f"sum by (tier) (max by (kind, tier) (dnsbl_listings{{{ON}}}))", "listed, tier {{tier}}"),
                    (f'sum(max by (scope) (breakers{{{ON},state="open"}}))', "breakers open"),
                ),
                "short",
                "stat",
                8,
                thresholds=((1, "orange"),),
            ),
            Panel(
                "Refusal ratio by IP",
                "Rejected / sent in the last window, of the ten highest. Missing where the volume is unknown.",
                ((f"topk(10, max by (ip) (ip_rejection_ratio{{{ON}}}))", "{{ip}}"),),
                "percentunit",
            ),
            Panel(
                "Status by IP",
                "0 healthy, 1 warning, 2 quarantine, 3 blacklisted; the twenty worst.",
                ((f"topk(20, max by (ip) (ip_reputation_status{{{ON}}}))", "{{ip}}"),),
                "short",
                "state-timeline",
                most=3,
                thresholds=BY_STATUS,
                names=STATUSES,
            ),
            Panel(
                "Lowest scores",
                "Scores over 24 hours (0 to 100) of the ten worst IPs and domains with recent mail.",
                ((f"bottomk(10, max by (kind, sender) (sender_score{{{ON}}}))", "{{sender}}"),),
                "short",
                most=100,
            ),
            Panel(
                "Automatic changes",
                "Changes of status and transitions of breakers and warm-ups in an hour, made without a person.",
                (
                    (f"sum by (new) (increase(ip_status_changes_total{{{ON}}}[1h]))", "status to {{new}}"),
                    (f"sum by (to) (increase(breaker_transitions_total{{{ON}}}[1h]))", "breaker to {{to}}"),
                    (f"sum by (step) (increase(warmup_transitions_total{{{ON}}}[1h]))", "warm-up {{step}}"),
                ),
                "short",
            ),
        ),
    ),
    (
        "Events",
        (
            Panel(
                "Volume by source",
                "Events recorded in a second, by the source that reported them.",
                ((f"sum by (source) (rate(source_events_total{{{ON}}}[5m]))", "{{source}}"),),
                "cps",
            ),
            Panel(
                "Ingest rate",
                "Events in a second by what became of them, and requests that were told to try again.",
                (
                    (f"sum by (outcome) (rate(webhook_events_total{{{ON}}}[5m]))", "{{outcome}}"),
                    (f"sum by (why) (rate(webhook_requests_refused_total{{{ON}}}[5m]))", "told to try again: {{why}}"),
                ),
                "cps",
            ),
            Panel(
                "Ingest latency",
                "Time to answer one request that carries events.",
                (
                    (quantile(0.5, "webhook_request_seconds"), "median"),
                    (quantile(0.95, "webhook_request_seconds"), "95 %"),
                    (quantile(0.99, "webhook_request_seconds"), "99 %"),
                ),
                "s",
            ),
            Panel(
                "Requests that wait to be recorded",
                "Requests of sources that are held in memory until the database has taken them, by machine.",
                ((f"sum by (instance) (webhook_requests_waiting{{{ON}}})", "{{instance}}"),),
                "short",
            ),
            Panel(
                "Completeness",
                "Deliveries that arrived / that the server itself counted in 24 hours.",
                ((f"min by (source) (source_arrived_ratio{{{ON}}})", "{{source}}"),),
                "percentunit",
                most=1,
            ),
            Panel(
                "Silence of sources",
                "Since when no event of a source came.",
                ((f"time() - max by (source) (source_last_event_timestamp_seconds{{{ON}}})", "{{source}}"),),
                "s",
            ),
        ),
    ),
    (
        "Work behind the requests",
        (
            Panel(
                "Task runs",
                "Turns that periodic tasks began in ten minutes.",
                ((f"max by (task) (increase(task_runs_total{{{ON}}}[10m]))", "{{task}}"),),
                "short",
            ),
            Panel(
                "Task durations",
                "The 95th percentile of the time that a task's turns took.",
                ((quantile(0.95, "task_seconds", "task"), "{{task}}"),),
                "s",
            ),
            Panel(
                "Task failures",
                "Turns that failed in an hour; the log and the admin's Leases say why.",
                ((f"max by (task) (increase(task_failures_total{{{ON}}}[1h]))", "{{task}}"),),
                "short",
            ),
            Panel(
                "Queue ages",
                "Since when the oldest entry waits that could be done.",
                ((f"max by (queue) (queue_oldest_seconds{{{ON}}})", "{{queue}}"),),
                "s",
            ),
            Panel(
                "DNSBL checks",
                "Looks at blocklists in a minute by what they said.",
                ((f"sum by (result) (rate(dnsbl_checks_total{{{ON}}}[15m])) * 60", "{{result}}"),),
                "cpm",
            ),
            Panel(
                "DNSBL time and errors",
                "The 95th percentile of a look, and errors in an hour, by list.",
                (
                    (quantile(0.95, "dnsbl_check_seconds", "blocklist"), "{{blocklist}}"),
                    (
                        f"sum by (blocklist, error) (increase(dnsbl_errors_total{{{ON}}}[1h])) > 0",
                        "errors: {{blocklist}}, {{error}}",
                    ),
                ),
                "short",
            ),
            Panel(
                "Alerts told",
                "Attempts to tell a channel in an hour, by way and outcome.",
                (
                    (
                        f"sum by (scheme, outcome) (increase(alert_deliveries_total{{{ON}}}[1h]))",
                        "{{scheme}} {{outcome}}",
                    ),
                ),
                "short",
            ),
            Panel(
                "Permits",
                "Permits asked for in a second, by the pool's mode and what the rules said.",
                ((f"sum by (mode, verdict) (rate(permits_total{{{ON}}}[5m]))", "{{mode}}: {{verdict}}"),),
                "cps",
            ),
        ),
    ),
    (
        "Web and machine",
        (
            Panel(
                "Web latency",
                "Time to answer pages and the API, as the browser or script waits for it.",
                (
                    (quantile(0.5, "django_http_requests_latency_including_middlewares_seconds"), "median"),
                    (quantile(0.95, "django_http_requests_latency_including_middlewares_seconds"), "95 %"),
                ),
                "s",
            ),
            Panel(
                "Slowest views",
                "The 95th percentile of the ten slowest views.",
                (
                    (
                        f"topk(10, {quantile(0.95, 'django_http_requests_latency_seconds_by_view_method', 'view')})",
                        "{{view}}",
                    ),
                ),
                "s",
            ),
            Panel(
                "Responses by status",
                "Responses of pages and the API in a second.",
                ((f"sum by (status) (rate(django_http_responses_total_by_status_total{{{ON}}}[5m]))", "{{status}}"),),
                "reqps",
            ),
            Panel(
                "What is wrong",
                "1 for each thing that /readyz finds wrong, and for a database that does not answer.",
                (
                    (f"max by (what) (trouble{{{ON}}})", "{{what}}"),
                    (f"1 - min(database_answers{{{ON}}})", "no database"),
                ),
                "short",
                most=1,
            ),
            Panel(
                "Free room on the disk",
                "Share of the disk with the data folder that is free, by machine.",
                ((f"data_disk_free_bytes{{{ON}}} / data_disk_size_bytes{{{ON}}}", "{{instance}}"),),
                "percentunit",
                most=1,
            ),
            Panel(
                "False alarms",
                "False alarms / judged changes of status in 30 days, by revision of the policy.",
                ((f"max by (policy_revision) (false_alarm_ratio{{{ON}}})", "revision {{policy_revision}}"),),
                "percentunit",
                most=1,
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
                "panels": [],
            }
        )
        y, x = y + 1, 0
        for panel in row:
            if x + panel.width > 24:
                y, x = y + 8, 0
            panels.append(_as_json(panel, len(panels) + 1, x, y))
            x += panel.width
        y += 8
    return {
        "uid": "good-standing",
        "title": "Good Standing",
        "description": "Standing of senders, events, work behind the requests and web of Good Standing.",
        "tags": ["good-standing", "email"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                {
                    "name": "job",
                    "label": "Job",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": {"query": "label_values(database_answers, job)", "refId": "job"},
                    "refresh": 2,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": panels,
    }


def _as_json(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.most is not None:
        defaults["max"] = panel.most
    steps = [{"color": "green", "value": None}, *({"color": color, "value": at} for at, color in panel.thresholds)]
    defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    if panel.thresholds:
        defaults["color"] = {"mode": "thresholds"}
    if panel.names:
        options = {value: {"text": text, "index": at} for at, (value, text) in enumerate(panel.names)}
        defaults["mappings"] = [{"type": "value", "options": options}]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": 8},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
        if panel.kind == "timeseries"
        else {},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for at, (expr, legend) in enumerate(panel.queries)
        ],
    }


def text() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (HERE / "good-standing.json").write_text(text(), encoding="utf-8")
