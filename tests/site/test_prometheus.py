"""A real Prometheus scrapes a served installation, by the configuration, rules and dashboard that are shipped."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import ROOT, House, house, until
from tests.servers import free_port
from tests.site.test_metrics_page import MANUAL, assert_bounded, written

RULES = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "good-standing.json"
# Written with what to do; the other rules point at what the metric means.
RUNBOOKS = {"quarantined-at-gmail", "listed-at-spamhaus", "warm-up-stuck", "source-silent", "database-full"}
WORDS_OF_PROMQL = {
    "by",
    "on",
    "and",
    "or",
    "unless",
    "time",
    "sum",
    "max",
    "min",
    "rate",
    "increase",
    "topk",
    "bottomk",
}

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus")


def names_in(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    bare = re.sub(r"(by|on|without) \([^)]*\)|\{[^}]*\}|\[[^]]*\]|\"[^\"]*\"", " ", expression)
    return set(re.findall(r"[a-z][a-z0-9_]+", bare)) - WORDS_OF_PROMQL - {"histogram_quantile"}


def samples() -> set[str]:
    """The names of samples that the manual's metrics have."""
    found = {"up"}
    for name, family in written().items():
        found |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if family.type == "histogram" else {name}
    return found


def rules() -> list[dict[str, str]]:
    """The shipped rules, each with its expression, by Prometheus' own words for them."""
    found = []
    for part in (RULES / "good-standing.rules.yml").read_text().split("      - alert: ")[1:]:
        name, rest = part.split("\n", 1)
        expression = re.search(r"expr: \|\n((?: {10}.*\n)+)", rest)
        runbook = re.search(r"runbook: (\S+)", rest)
        severity = re.search(r"severity: (\w+)", rest)
        assert expression is not None, name
        assert runbook is not None, name
        assert severity is not None, name
        assert re.search(r"^        for: \d+[mh]$", rest, re.MULTILINE), name
        assert re.search(r"summary: \S", rest), name
        assert re.search(r"description: ", rest), name
        found.append({"name": name, "expr": expression[1], "runbook": runbook[1], "severity": severity[1]})
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=RULES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_the_rules_and_their_tests_pass() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "good-standing.rules.yml")
    promtool("test", "rules", "good-standing.tests.yml", "good-standing.days.tests.yml")


def test_rules_and_panels_read_only_metrics_that_are() -> None:
    known = samples()
    for rule in rules():
        assert names_in(rule["expr"]), rule["name"]
        assert names_in(rule["expr"]) <= known, rule["name"]
    for panel in panels():
        for target in panel["targets"]:
            assert names_in(target["expr"]), panel["title"]
            assert names_in(target["expr"]) <= known, panel["title"]


def test_each_rule_says_how_bad_it_is_and_where_to_read_on() -> None:
    headings = {
        "metrics.md": re.findall(r"^## (.+)$", MANUAL.read_text(), re.MULTILINE),
        "observability.md": re.findall(r"^##+ (.+)$", (ROOT / "docs/observability.md").read_text(), re.MULTILINE),
    }
    found = rules()
    assert len({rule["name"] for rule in found}) == len(found) > 15
    for rule in found:
        assert rule["severity"] in {"info", "warning", "critical"}
        page, _, anchor = rule["runbook"].removeprefix("docs/").partition("#")
        if page.startswith("runbooks/"):
            assert page.removeprefix("runbooks/").removesuffix(".md") in RUNBOOKS
            assert (ROOT / "docs" / page).exists() or not (ROOT / "docs" / "runbooks").exists()
        else:
            slugs = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in headings[page]}
            assert anchor in slugs, rule["runbook"]


def test_the_dashboard_is_what_its_script_writes_and_each_panel_explains_itself() -> None:
    script = runpy.run_path(str(ROOT / "deploy" / "grafana" / "make_dashboard.py"))
    assert DASHBOARD.read_text() == script["text"]()
    whole = json.loads(DASHBOARD.read_text())
    numbers = [panel["id"] for panel in whole["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert whole["templating"]["list"][0]["type"] == "datasource"
    places = set()
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["legendFormat"] for target in panel["targets"])
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, f"{panel['title']} lies over another"
        assert max(x for x, _ in cells) < 24
        places |= cells
    about = " ".join(name for panel in panels() for target in panel["targets"] for name in names_in(target["expr"]))
    for name in ("ip_rejection_ratio", "ip_reputation_status", "source_events_total", "webhook_request_seconds_bucket",
                 "task_runs_total", "task_seconds_bucket", "queue_oldest_seconds", "dnsbl_checks_total", "alerts",
                 "source_arrived_ratio"):  # fmt: skip
        assert name in about


class Prometheus:
    """Debian's Prometheus with our rules, scraping one address."""

    def __init__(self, folder: Path, target: str, token: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        shutil.copy(RULES / "good-standing.rules.yml", folder)
        (folder / "token").write_text(token)
        shipped = (RULES / "prometheus.yml").read_text()
        ours = (
            shipped.replace("127.0.0.1:8000", target)
            .replace("30s", "1s")
            .replace("# authorization:", "authorization:")
            .replace(
                "#   credentials_file: /etc/prometheus/good-standing-token", f"  credentials_file: {folder}/token #"
            )
        )
        (folder / "prometheus.yml").write_text(ours)
        self.process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"),
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=(folder / "prometheus.log").open("wb"),
            stderr=subprocess.STDOUT,
        )

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its API; None while it is not there."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it still starts
                return None
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        except OSError:
            return None

    def value(self, expression: str) -> float | None:
        """The first value of an expression."""
        found = (self.ask("query", query=expression) or {}).get("result") or [None]
        return None if found[0] is None else float(found[0]["value"][1])


@contextmanager
def prometheus(folder: Path, target: str, token: str) -> Iterator[Prometheus]:
    folder.mkdir()
    server = Prometheus(folder, target, token)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)


def refusals(home: House, token: str) -> None:
    """A bad hour: most mail of one IP is refused by two providers."""
    now = datetime.now(UTC)
    events = []
    for number in range(300):
        refused = number % 3 != 0
        events.append(
            {
                "id": f"bad-{number}",
                "createdAt": (now - timedelta(seconds=number % 300)).isoformat(),
                "type": "smtp.delivery.failure" if refused else "smtp.delivery.success",
                "data": {
                    "ip": "192.0.2.66",
                    "recipient": f"someone{number}@{'gmail.com' if number % 2 else 'outlook.com'}",
                    "smtp_code": 550 if refused else 250,
                    "enhanced_code": "5.7.1" if refused else "2.0.0",
                    "reason": "blocked" if refused else "ok",
                },
            }
        )
    status, answer = home.post("/api/webhooks/stalwart/delivery-failure", token, {"events": events})
    assert (status, answer["failed"]) == (200, 0)


@pytest.mark.slow
def test_prometheus_reads_it_evaluates_every_rule_and_panel_and_one_rule_speaks(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        secret = "for-prometheus-only"
        home.environment |= {"GS_WEB_WORKERS": "2", "GS_METRICS_HELD": "1", "GS_METRICS_TOKEN": secret}
        token = home.manage("create_source", "mta-1", "--kind", "generic", "--token").strip().split()[-1]
        for line in ("web", "worker", "beat"):
            home.start(line)
        until(home.answers, seconds=60, what="web answers")
        with prometheus(tmp_path / "prometheus", f"127.0.0.1:{home.port}", secret) as server:
            until(lambda: server.value("up") == 1, seconds=60, what="the target is up")
            (target,) = server.ask("targets")["activeTargets"]
            assert (target["health"], target["lastError"]) == ("up", "")
            refusals(home, token)
            until(
                lambda: (server.value('ip_reputation_status{ip="192.0.2.66"}') or 0) >= 2,
                seconds=60,
                what="the quarantine reaches Prometheus",
            )
            before = time.time()
            assert server.value('source_events_total{source="mta-1"}') == 300

            def all_rules() -> list[dict[str, Any]]:
                return [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]

            # Each was evaluated with what there is now.
            until(
                lambda: all(
                    datetime.fromisoformat(re.sub(r"\.\d+", "", rule["lastEvaluation"])).timestamp() > before + 2
                    for rule in all_rules()
                ),
                seconds=60,
                what="every rule was evaluated",
            )
            assert len(all_rules()) == len(rules())
            assert {rule["name"]: rule["lastError"] for rule in all_rules() if rule.get("lastError")} == {}
            assert {rule["health"] for rule in all_rules()} == {"ok"}
            speaks = {rule["name"] for rule in all_rules() if rule["state"] in ("pending", "firing")}
            assert speaks & {"GoodStandingIpQuarantined", "GoodStandingIpBlacklisted"}
            assert not speaks & {"GoodStandingDown", "GoodStandingDatabaseAway", "GoodStandingRefusesReports"}

            answered = 0
            for panel in panels():
                for target in panel["targets"]:
                    expression = target["expr"].replace("$job", ".*")
                    answered += bool(server.ask("query", query=expression)["result"])
            assert answered > 15, "the panels show something"

            asked = urllib.request.Request(home.url("/metrics"), headers={"Authorization": f"Bearer {secret}"})
            with urllib.request.urlopen(asked, timeout=30) as answer:
                assert_bounded(answer.read().decode())

            # The target goes away, and Prometheus says so.
            home.kill("web")
            until(
                lambda: next(rule for rule in all_rules() if rule["name"] == "GoodStandingDown")["state"] == "pending",
                seconds=60,
                what="the rule notices that it is down",
            )
