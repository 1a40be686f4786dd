"""/metrics of a house with several processes: right whichever answers, and going on over restarts."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from reputation_site.version import VERSION
from telemetry.metric_files import Places
from tests.e2e.house import ROOT, House, house, until

LIVE = ("django_http_responses_total_by_status_view_method_total", "live")


class Scrape(dict[tuple[str, ...], float]):
    """The samples of one scrape by name and label values, in the order of the labels' names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
                assert key not in self, f"twice on the page: {key}"
                self[key] = sample.value


def scrape(home: House) -> Scrape:
    with urllib.request.urlopen(home.url("/metrics"), timeout=30) as answer:
        return Scrape(answer.read().decode())


def live_requests(values: Scrape) -> float:
    return values.get((LIVE[0], "GET", "200", "live"), 0.0)


def by_process(home: House) -> list[float]:
    """How many times each process answered /healthz, by its own file."""
    found = []
    for file in sorted((home.folder / "metrics" / VERSION).glob("counter_*.db")):
        for metric in MultiProcessCollector.merge([str(file)]):
            found += [one.value for one in metric.samples if one.name == LIVE[0] and one.labels["view"] == LIVE[1]]
    return found


def report(home: House, token: str, names: list[str]) -> None:
    at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    data = {"ip": "192.0.2.10", "recipient": "someone@gmail.com", "smtp_code": 550, "reason": "no"}
    for name in names:
        event = {"id": name, "createdAt": at, "type": "smtp.delivery.failure", "data": data}
        status, answer = home.post("/api/webhooks/stalwart/delivery-failure", token, {"events": [event]})
        assert (status, answer["processed"]) == (200, 1)


def recorded(values: Scrape) -> float:
    return values.get(("webhook_events_total", "generic", "recorded"), 0.0)


@pytest.mark.slow
def test_all_processes_count_together_and_a_restart_loses_nothing(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.environment |= {"GS_WEB_WORKERS": "2", "GS_METRICS_HELD": "0"}
        token = home.manage("create_source", "mta-1", "--kind", "generic", "--token").strip().split()[-1]
        for line in ("web", "worker", "beat"):
            home.start(line)
        until(home.answers, seconds=60, what="web answers")

        def both_answered() -> bool:
            home.answers()
            return len([number for number in by_process(home) if number]) == 2

        until(both_answered, seconds=60, what="both web processes answered something")
        expected = sum(by_process(home))
        for _ in range(20):
            assert home.answers()
            expected += 1
            assert live_requests(scrape(home)) == expected, "each scrape says what all processes counted"

        report(home, token, [f"event-{number}" for number in range(10)])
        values = scrape(home)
        assert recorded(values) == 10
        assert values["source_events_total", "mta-1"] == 10
        assert values["smtp_failures_total", "bounce"] == 10

        def all_left() -> bool:
            values = scrape(home)
            return (values["webhook_request_seconds_count",], values["webhook_requests_waiting",]) == (10, 0)

        until(all_left, seconds=20, what="each request was timed, and none waits any more")

        def worker_counts() -> bool:
            values = scrape(home)
            return bool(
                values.get(("task_seconds_count", "poll changed senders"), 0) >= 1
                and values.get(("aggregation_runs_total", "done", "changed IPs"), 0) >= 1
                and values.get(("ip_reputation_status", "192.0.2.10")) is not None
            )

        until(worker_counts, seconds=60, what="web tells what the worker counted")

        # One end is clean, the other is not; neither takes anything away, and no file is left behind for each.
        files = len(list((tmp_path / "metrics" / VERSION).glob("counter_*.db")))
        before = scrape(home)
        assert set(home.stop().values()) <= {0}
        for line in ("web", "worker", "beat"):
            home.start(line)
        until(home.answers, seconds=60, what="web answers again")
        after = scrape(home)
        backwards = {key for key in before if key[0].endswith(("_total", "_count")) and after.get(key, 0) < before[key]}
        assert not backwards
        home.kill("web")
        home.start("web")
        until(home.answers, seconds=60, what="web answers after a kill")
        report(home, token, ["event-after"])
        values = scrape(home)
        assert (recorded(values), values["source_events_total", "mta-1"]) == (11, 11)
        assert len(list((tmp_path / "metrics" / VERSION).glob("counter_*.db"))) <= files


PROGRAM = """
import os, sys
from pathlib import Path
from telemetry import metric_files
metric_files.share(Path(sys.argv[1]))
from prometheus_client import Counter, Gauge
seen, now = Counter("seen", "."), Gauge("now", ".", multiprocess_mode="livesum")
seen.inc(); now.set(1)
if child := os.fork():
    os.waitpid(child, 0)
else:
    seen.inc(10); now.set(10)
    os._exit(0)
print(flush=True)
sys.stdin.readline()
"""


@pytest.mark.one_database
def test_a_process_has_a_place_of_its_own_and_gauges_are_of_the_living(tmp_path: Path) -> None:
    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def said() -> dict[str, float]:
        found = MultiProcessCollector.merge(Places(tmp_path).files())
        return {one.name: one.value for metric in found for one in metric.samples}

    first = begin()
    assert said() == {"seen_total": 11, "now": 1}, "the child counted for itself, and its gauge went with it"
    second = begin()
    assert said() == {"seen_total": 22, "now": 2}
    assert len(list(tmp_path.glob("counter_*"))) == 3, "the second's child took the place of the first's"
    first.kill()
    first.wait()
    assert said() == {"seen_total": 22, "now": 1}
    third = begin()
    assert said() == {"seen_total": 33, "now": 2}
    assert len(list(tmp_path.glob("counter_*"))) == 3
    for process in (second, third):
        process.communicate("\n")
    assert said() == {"seen_total": 33}


@pytest.mark.one_database
def test_a_child_for_which_the_disk_has_no_room_goes_on(tmp_path: Path) -> None:
    full = "    def no_room(*_): raise OSError(28, 'No space left on device')\n    os.posix_fallocate = no_room\n"
    program = PROGRAM.replace("    seen.inc(10)", full + "    seen.inc(10)").replace(
        "child, 0)", "child, 0)[1] and os._exit(7)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program, str(tmp_path / "metrics")]
    done = subprocess.run(command, cwd=ROOT, env=environment, input="\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, "the child counted, although in vain"
    assert "what this process counts is not told" in done.stderr
    (seen,) = [
        one for metric in MultiProcessCollector.merge(Places(tmp_path / "metrics").files()) for one in metric.samples
    ]
    assert (seen.name, seen.value) == ("seen_total", 1)


@pytest.mark.one_database
def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    program = PROGRAM + "\nprint(seen._value.get(), metric_files.shared())\n"
    command = [sys.executable, "-c", program, str(blocked)]
    # What the parent shares must not be taken for one's own.
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, input="\n", capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.0", "None"]
    assert "metrics are of single processes" in done.stderr
