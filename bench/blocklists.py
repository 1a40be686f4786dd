"""One round of blocklist checks: 100 IPs on 22 lists, all of which answer or three of which never do.

The lists are rbldnsd's; the dead ones are a server that drops every packet. Parts of the fleet are checked by one or
two worker processes, as the periodic task does it. Sockets are counted from outside, in the kernel's table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.utils import timezone  # noqa: E402

from reputation import blocklists  # noqa: E402
from reputation.blocklist_book import asked_lists  # noqa: E402
from reputation.blocklist_watch import SHARDS, plan  # noqa: E402
from reputation.models import Blocklist, BlocklistCanary, Listing, SendingIP  # noqa: E402
from tests.dns_servers import Rbldnsd, Scripted, dropped  # noqa: E402

LISTS, IPS = 22, 100
TABLE = {"127.0.0.2": {"meaning": "spam source", "severity": "high"}}


def part(shards: Iterable[int]) -> None:
    """What one worker process does: its shards one after the other, until nothing in them is due."""
    asked = 0
    for shard in shards:
        while (ran := blocklists.check_due(shard, now=timezone.now())).asked:
            asked += ran.asked
    print(json.dumps(asked))


def open_sockets(ports: set[int]) -> int:
    """How many UDP and TCP sockets on this machine are connected to these ports now."""
    found = 0
    for table in ("udp", "tcp"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, _, remote, state, *_ = line.split()
            found += int(remote.rpartition(":")[2], 16) in ports and state == "01"
    return found


def ask_all(workers: int, ports: set[int]) -> tuple[float, int, int]:
    """(seconds, pairs asked, most sockets seen open) of one round by so many worker processes."""
    began, most = time.monotonic(), 0
    commands = [
        [sys.executable, "-m", "bench.blocklists", "--part", ",".join(map(str, range(worker, SHARDS, workers)))]
        for worker in range(workers)
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    while any(process.poll() is None for process in processes):
        most = max(most, open_sockets(ports))
        time.sleep(0.005)
    return time.monotonic() - began, sum(json.loads(process.communicate()[0]) for process in processes), most


def start_up(workers: int) -> float:
    """Seconds that so many processes take to start and find nothing due."""
    return ask_all(workers, set())[0]


def lists(rbldnsd: Rbldnsd, dead: Scripted, silent: int, per_second: int) -> None:
    """Give the first lists to the server that never answers, the rest to the one that does."""
    Blocklist.objects.all().delete()
    for number in range(LISTS):
        server = dead if number < silent else rbldnsd
        Blocklist.objects.create(
            name=f"list{number}",
            zone=f"list{number}.test",
            listed=TABLE,
            resolver=server.address[0],
            resolver_port=server.port,
            queries_per_second=per_second,
        )


def row(rbldnsd: Rbldnsd, dead: Scripted, workers: int, silent: int, per_second: int) -> dict[str, str]:
    """One round and what it cost."""
    lists(rbldnsd, dead, silent, per_second)
    idle = start_up(workers)
    before, dead_before = rbldnsd.queries(), len(dead.asked)
    plan(asked_lists().values(), now=timezone.now())
    BlocklistCanary.objects.all().delete()
    seconds, asked, most = ask_all(workers, {rbldnsd.port, dead.port})
    answered = rbldnsd.queries() - before
    counts: list[Any] = [answered[f"list{number}.test"] for number in range(silent, LISTS)]
    errors = Listing.objects.filter(result="error").count()
    return {
        "workers": str(workers),
        "lists that never answer": str(silent),
        "allowed a list and second": f"{per_second:,}",
        "pairs": f"{asked:,}",
        "seconds": f"{seconds - idle:.1f}",
        "looks that said so": f"{asked - errors:,}",
        "most sockets open (allowed)": f"{most} ({settings.DNS_MOST_SOCKETS})",
        "queries to a list that answers": f"{min(counts)}–{max(counts)}",
        "queries to all that do not": str(len(dead.asked) - dead_before),
    }


def main() -> None:
    """Measure and print the rows as JSON."""
    if "--part" in sys.argv:
        part(int(shard) for shard in sys.argv[-1].split(","))
        return
    ips = [f"198.18.0.{number}" for number in range(1, (10 if "--quick" in sys.argv else IPS) + 1)]
    SendingIP.objects.bulk_create(SendingIP(ip=ip) for ip in ips)
    data = ":127.0.0.2:listed, see $\n127.0.0.2\n" + "\n".join(ips[::20])
    zones = {f"list{number}.test": ("ip4set", data) for number in range(LISTS)}
    with Rbldnsd(zones) as rbldnsd, Scripted({f"list{number}.test": dropped for number in range(LISTS)}) as dead:
        rounds = [(2, 0, 1000), (2, 3, 20)]
        if "--quick" not in sys.argv:
            rounds = [(1, 0, 1000), (2, 0, 1000), (1, 3, 1000), (2, 3, 1000), (2, 3, 20)]
        print(json.dumps([row(rbldnsd, dead, *entry) for entry in rounds]))


if __name__ == "__main__":
    main()
