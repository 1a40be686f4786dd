"""KumoMTA's admin API, as far as we use it. Every failure is a KumoError; none of them holds the login."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from reputation.domain.kumomta import SUSPEND, SUSPEND_READY, Call, Listed, duration
from telemetry.domain import clean
from telemetry.outbound import Answer, OutboundError, send

# A KumoMTA that is well answers within milliseconds, and others wait behind this one.
TIMEOUT = timedelta(seconds=3)
METRICS = "/metrics.json"
# A list of thousands of suspensions, or the metrics of thousands of queues.
MOST_BYTES = 16 * 1024 * 1024
LONGEST_ERROR = 300
_CRITERIA = ("campaign", "domain", "name", "routing_domain", "tenant")


class KumoError(Exception):
    """KumoMTA did not do it; `status` is what it answered, None where it did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Done:
    """What KumoMTA answered."""

    status: int
    id: str = ""
    """Of the suspension that was made."""


class KumoApi:
    """One KumoMTA. `login` is "user:password"; empty where it trusts our address."""

    def __init__(self, url: str, login: str) -> None:
        self._url, self._login = url.rstrip("/"), login

    def suspensions(self) -> list[Listed]:
        """What is suspended there, by anybody. Raises KumoError."""
        return [entry for path in (SUSPEND, SUSPEND_READY) for entry in self._listed(path)]

    def ready_queues(self) -> set[str]:
        """The names of its ready queues: its metrics name the ones in use. Raises KumoError."""
        metrics = self._read(METRICS)
        if not isinstance(metrics, dict):
            raise KumoError(f"{METRICS} is not a JSON object.", 200)
        return set(_queues(metrics))

    def make(self, call: Call) -> Done:
        """Make a call. What is to be lifted and is gone already is as it should be. Raises KumoError."""
        answer = self._send(call.method, call.path, dict(call.body))
        if call.method == "DELETE" and answer.status == 404:
            return Done(404)
        self._check(answer)
        if call.method == "DELETE":
            return Done(answer.status)
        found = _json(answer)
        made = found.get("id") if isinstance(found, dict) else None
        if not isinstance(made, str):
            raise KumoError("It names no suspension in its answer.", answer.status)
        return Done(answer.status, clean.text(made, longest=64))

    def _listed(self, path: str) -> Iterator[Listed]:
        found = self._read(path)
        if not isinstance(found, list):
            raise KumoError(f"The list at {path} is not a JSON array.", 200)
        for entry in found:
            if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
                raise KumoError(f"The list at {path} holds something else than suspensions.", 200)
            criteria = [(name, entry[name]) for name in _CRITERIA if isinstance(entry.get(name), str)]
            if entry.get("queue_names"):
                criteria.append(("queue_names", json.dumps(entry["queue_names"], sort_keys=True)))
            left = duration(entry.get("duration"))
            yield Listed(path, tuple(sorted(criteria)), entry["id"], str(entry.get("reason", "")), left)

    def _read(self, path: str) -> Any:
        answer = self._send("GET", path, None)
        self._check(answer)
        return _json(answer)

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> Answer:
        written = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if written else {})}
        url = f"{self._url}{path}"
        try:
            return send(
                method,
                url,
                timeout=TIMEOUT,
                most_bytes=MOST_BYTES,
                body=written,
                headers=headers,
                login=self._login,
            )
        except OutboundError as error:
            raise KumoError(str(error)) from None

    def _check(self, answer: Answer) -> None:
        if answer.status in (401, 403):
            hint = "Give the right login, or add our address to its listener's trusted_hosts."
            raise KumoError(f"It answered {answer.status}: it does not let us in. {hint}", answer.status)
        if not 200 <= answer.status < 300:
            said = self._without_secret(answer.body.decode(errors="replace"))
            raise KumoError(f"It answered {answer.status}: {said or 'nothing more'}", answer.status)

    def _without_secret(self, text: str) -> str:
        """A server may repeat what it was sent."""
        sent = base64.b64encode(self._login.encode()).decode()
        for secret in (sent, self._login, self._login.partition(":")[2]):
            if secret:
                text = text.replace(secret, "…")
        plain = " ".join(text.split())
        return clean.text("".join(letter for letter in plain if letter.isprintable()), longest=LONGEST_ERROR)


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise KumoError("The answer is not JSON.", answer.status) from None


def _queues(metrics: dict[str, Any]) -> Iterator[str]:
    """Of "smtp_client:source->site@smtp_client", which labels the metrics of each ready queue, the queue's name."""
    for name in ("ready_count", "connection_count"):
        values = metrics.get(name)
        by_label = values.get("value") if isinstance(values, dict) else None
        by_service = by_label.get("service") if isinstance(by_label, dict) else None
        for service in by_service if isinstance(by_service, dict) else ():
            queue = service.partition(":")[2]
            if "->" in queue:
                yield queue
