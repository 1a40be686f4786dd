"""``manage.py demo``: `serve` with a believable day of mail, told over the real webhooks."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from reputation.domain.warmup import local_date
from reputation.domain.warmup_policy import State, Step
from reputation.models import IpStanding, Warmup, WarmupTemplate
from reputation.scores import score_senders
from reputation.warmup_moves import Change, Plan, begin
from reputation_site.demo.cast import BAD_IP, CAST, WARMING_IP
from reputation_site.demo.feed import Feed, wait_for
from reputation_site.demo.reporter import RefusedError, Reporter
from reputation_site.first_start import FirstStart
from reputation_site.management.commands import serve
from reputation_site.probe import local_address, own_host_name
from reputation_site.supervisor import Program
from reputation_site.welcome import base_url
from telemetry.domain.vocab import SourceKind
from telemetry.models import Source
from telemetry.tokens import issue_token, revoke_token

LABEL = "made by the demo"
SOURCES = {"demo-mta-1": SourceKind.DOCUMENTED, "demo-mta-2": SourceKind.GENERIC}
SEED = 5321  # RFC 5321
# Nobody's name servers are asked about invented senders, and the ports stay free for who really asks.
QUIET = {
    "GS_DNS_SERVERS": "127.0.0.1:9",
    "GS_PERMIT_MX_LOOKUPS": "off",
    "GS_POLICYD_LISTEN": "off",
    "GS_SOCKETMAP_LISTEN": "off",
}


class Command(serve.Command):
    """Serve, and play the demo into it."""

    help = "Serve with a day of invented mail in the database; use a data folder that holds nothing else (make demo)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--feed`` (the part that `demo` starts by itself) and ``--seed``."""
        parser.add_argument("--feed", action="store_true", help="only send the mail, to a product that serves already")
        parser.add_argument("--seed", type=int, default=SEED, help="another number tells another day")

    def handle(self, *_: object, **options: Any) -> None:
        """Serve, or feed."""
        self.seed: int = options["seed"]
        if options["feed"]:
            _feed(self.seed)
        else:
            for name, value in QUIET.items():
                os.environ.setdefault(name, value)
            super().handle()

    def before_start(self) -> None:
        """Refuse to mix invented mail with real mail."""
        if Source.objects.exclude(last_event_at=None).exists() and not Source.objects.filter(name__in=SOURCES).exists():
            raise CommandError(
                f"The database of {settings.DATA_DIR} holds real mail. Choose another folder: GS_DATA_DIR=data-demo"
            )

    def when_live(self, made: FirstStart) -> None:
        """Print the next step, and begin to send."""
        super().when_live(made)
        command = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "demo", "--feed", f"--seed={self.seed}"]
        self.supervisor.start(Program("demo", command, stop_rank=-1, stop_within=timedelta(seconds=10)))


def _feed(seed: int) -> None:
    # Asked to stop we stop: the report on the way is either stored or comes again as nothing new.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sources = [Source.objects.get_or_create(name=name, defaults={"kind": kind})[0] for name, kind in SOURCES.items()]
    last_events = [source.last_event_at for source in sources if source.last_event_at is not None]
    feed = Feed(
        {source.name: _reporter(source) for source in sources},
        seed=seed,
        last_event_at=max(last_events, default=None),
    )
    say = sys.stderr.write
    try:
        say("Sending a day of mail; one of its six sending IPs goes bad in the middle of it.\n")
        played = feed.play_the_past()
        say(f"{played.events:,} events in {played.seconds:.0f} s. Judging them …\n")
        judged = wait_for(_is_judged, within=timedelta(seconds=30))
        # Scores come every five minutes; a newcomer should not have to wait for the first ones.
        score_senders(now=timezone.now())
        _warm_up()
        for line in _standings() if judged else ["Not judged yet; have a look at the console."]:
            say(f"  {line}\n")
        say(f"From now on mail goes on as it happens, until Ctrl-C. Have a look: {base_url()}/\n")
        sys.stderr.flush()
        connection.close()
        feed.play_the_present()
    except RefusedError as error:
        raise CommandError(str(error)) from None


def _reporter(source: Source) -> Reporter:
    """A reporter with a token of its own; the last run's tokens end, nobody has them any more."""
    for left_over in source.tokens.filter(label=LABEL, revoked_at=None):
        revoke_token(left_over, now=timezone.now())
    documented = source.kind == SourceKind.DOCUMENTED
    token = issue_token(source, LABEL)
    return Reporter(local_address(), settings.LISTEN_PORT, own_host_name(), token, documented=documented)


def _warm_up() -> None:
    """One of the IPs is not long with us; its mail of a day is about what its warm-up allows."""
    if Warmup.objects.exists():
        return
    now = timezone.now()
    plan = Plan(WarmupTemplate.objects.get(name="default").schedule(), "UTC", "default")
    today = local_date(now, plan.time_zone)
    change = Change(Step.STARTED, "A new machine, warm so far.", State.RUNNING, 6, today, plan=plan)
    begin("ip", WARMING_IP, change, now=now)


def _is_judged() -> bool:
    return IpStanding.objects.filter(sending_ip=BAD_IP).exclude(status="healthy").exists()


def _standings() -> list[str]:
    found: dict[str, Any] = {standing.sending_ip: standing for standing in IpStanding.objects.all()}
    lines = []
    for ip in CAST:
        standing = found.get(ip.address)
        if standing is not None:
            lines.append(f"{ip.address:14} {standing.status:12} {standing.why}")
    return lines
