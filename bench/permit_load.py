"""Questions at fixed moments (open loop): policy requests of Postfix, or permits over HTTP, from a process of its own.

Run as ``python -m bench.permit_load policy HOST:PORT --rate R`` or ``… http URL --token T --rate R``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from bench.load import Connection, Load, percentile

PROVIDERS = ("gmail.com", "outlook.com", "yahoo.com", "web.de")


class PolicyConnection(Connection):
    """A connection of an smtpd: the answer ends with an empty line."""

    def data_received(self, data: bytes) -> None:
        """Count the answer by its first word: DUNNO is 200, anything else 451."""
        self.buffer += data
        if self.buffer.endswith(b"\n\n"):
            status = 200 if self.buffer.startswith(b"action=DUNNO") else 451
            self.buffer = b""
            self.load.answered(self, status)


class PolicyLoad(Load):
    """Asks as smtpd does, with all its attributes."""

    connection = PolicyConnection
    tick = 0.0

    def request(self) -> bytes:
        """The next recipient of the next of fifty senders."""
        number = self.number = getattr(self, "number", 0) + 1
        return (
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nhelo_name=app.example\n"
            f"queue_id=\nsender=news@sender{number % 50}.example\n"
            f"recipient=r{number}@{PROVIDERS[number % 4]}\nrecipient_count=0\nclient_address=192.0.2.1\n"
            "client_name=app.example\nreverse_client_name=app.example\ninstance=1.2.3\nsasl_method=plain\n"
            "sasl_username=app\nsasl_sender=\nsize=2048\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n"
            "encryption_protocol=TLSv1.3\nencryption_cipher=x\nencryption_keysize=256\netrn_domain=\nstress=\n"
            "ccert_pubkey_fingerprint=\nclient_port=40000\npolicy_context=\nserver_address=192.0.2.9\nserver_port=587\n"
            "compatibility_level=3.6\nmail_version=3.7.11\n\n"
        ).encode()


class PermitLoad(Load):
    """Asks /api/permits, one question a request."""

    def request(self) -> bytes:
        """The next recipient of the next of fifty senders."""
        number = self.number = getattr(self, "number", 0) + 1
        question = {"sender": f"news@sender{number % 50}.example", "recipient": f"r{number}@{PROVIDERS[number % 4]}"}
        body = json.dumps(question).encode()
        return b"%b%d\r\n\r\n%b" % (self.header, len(body), body)


def main() -> None:
    """Parse the command line, ask, print what came back as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.permit_load", description=__doc__)
    parser.add_argument("what", choices=["policy", "http"])
    parser.add_argument("where")
    parser.add_argument("--token", default="")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    kind = PolicyLoad if options.what == "policy" else PermitLoad
    url = f"http://{options.where}/" if options.what == "policy" else options.where
    load = kind(url, options.token, 1, options.rate, options.connections)
    outcome = asyncio.run(load.run(options.seconds))
    latencies = sorted(outcome.latencies)
    answers: dict[str, Any] = {
        "answers": len(latencies),
        "statuses": {str(status): count for status, count in outcome.statuses.items()},
        "broken": outcome.broken,
        **{f"p{int(share * 100)}": percentile(latencies, share) for share in (0.5, 0.95, 0.99)},
        "max": percentile(latencies, 1),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
