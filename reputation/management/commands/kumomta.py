"""``manage.py kumomta``: apply the breakers to KumoMTA now, or show what is suspended there and what should be."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from reputation.enforcement import kumomta
from reputation.enforcement.kumomta_api import KumoError
from reputation.models import KumoServer


class Command(BaseCommand):
    """Ends with an error where a server did not do what it was told."""

    help = "Tell KumoMTA servers what circuit breakers hold back (apply), or look without changing anything (show)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the verb and ``--server``."""
        parser.add_argument("verb", choices=("apply", "show"))
        parser.add_argument("--server", metavar="NAME", help="this server alone, be it active or not")

    def handle(self, *_: object, verb: str, server: str | None, **__: object) -> None:
        """Do it for each server."""
        rows = KumoServer.objects.order_by("name")
        rows = rows.filter(name=server) if server else rows.filter(is_active=True)
        if not rows:
            raise CommandError(f"There is no server {server!r}." if server else "There is no active KumoMTA server.")
        failed = [row.name for row in rows if not (self._apply(row) if verb == "apply" else self._show(row))]
        if failed:
            raise CommandError(f"Not done: {', '.join(failed)}.")

    def _apply(self, server: KumoServer) -> bool:
        done = kumomta.apply(server, now=timezone.now())
        self.stdout.write(
            f"{server}: {done.suspended} suspended, {done.renewed} renewed, {done.lifted} lifted, {done.failed} failed."
            + (f" {done.left} calls are left for the next run." if done.left else "")
        )
        if done.error:
            self.stderr.write(f"{server}: {done.error}")
        for scope, why in done.untold:
            self.stderr.write(f"{server}: {scope} is not paused. {why}")
        return not done.failed

    def _show(self, server: KumoServer) -> bool:
        try:
            listed, plan = kumomta.look(server, now=timezone.now())
        except KumoError as error:
            self.stderr.write(f"{server}: {error}")
            return False
        self.stdout.write(f"{server}: {len(listed)} suspensions there, {len(plan.wanted)} wanted.")
        there = {entry.key for entry in listed}
        for entry in listed:
            whose = "ours, and wanted" if entry.key in plan.wanted else "ours, no longer wanted"
            what = " ".join(f"{name}={value}" for name, value in entry.criteria)
            self.stdout.write(f"  {what or 'everything'}  ({whose if entry.is_ours else 'not ours'})  {entry.reason}")
        for key, wanted in plan.wanted.items():
            if key not in there:
                self.stdout.write(f"  {' '.join(f'{name}={value}' for name, value in key[1])}  (missing)  {wanted.why}")
        for scope, why in plan.untold:
            self.stdout.write(f"  {scope} cannot be paused there. {why}")
        return True
