"""A mail server on loopback that answers as a script tells it to, and remembers what it answered to whom."""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ACCEPT = "250 2.1.5 Ok"
REFUSE = "550 5.7.1 [{client}] blocked, see https://receiver.example/why (reputation)"
GREYLIST = "451 4.7.1 Greylisted, please try again"


@dataclass(frozen=True)
class Asked:
    """One RCPT command: from which address it came, who was the sender, and how often that trio came before."""

    client: str
    sender: str
    recipient: str
    before: int


Script = Callable[[Asked], str]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 50
    receiver: Receiver


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def say(self, *lines: str) -> None:
        """One reply; all its lines in one write, as a slow reader must not see half of it."""
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def handle(self) -> None:
        receiver, client = self.server.receiver, str(self.client_address[0])
        sender, accepted = "", 0
        self.say(f"220 {receiver.name} ESMTP")
        for raw in self.rfile:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            verb, argument = line[:4].upper(), line.partition(":")[2].strip()
            if verb == "EHLO":
                self.say(f"250-{receiver.name}", "250-PIPELINING", "250 ENHANCEDSTATUSCODES")
            elif verb == "MAIL":
                sender, accepted = _address(argument), 0
                self.say("250 2.1.0 Ok")
            elif verb == "RCPT":
                reply = receiver.answer(client, sender, _address(argument))
                accepted += reply.startswith("2")
                self.say(*reply.splitlines())
            elif verb == "DATA":
                if not accepted:
                    self.say("554 5.5.1 No valid recipients")
                    continue
                self.say("354 Go ahead")
                while self.rfile.readline().rstrip(b"\r\n") != b".":
                    pass
                self.say("250 2.0.0 Ok: queued as TEST")
            elif verb == "QUIT":
                self.say("221 2.0.0 Bye")
                return
            else:
                self.say("250 2.0.0 Ok")


class Receiver:
    """``with Receiver(script) as receiver:`` listens on a free port of 127.0.0.1."""

    def __init__(self, script: Script, *, name: str = "receiver.example") -> None:
        self.name = name
        self.answers: Counter[tuple[str, str]] = Counter()
        """How often each client address was given each reply code."""
        self._script = script
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Session)
        self._server.receiver = self

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def answer(self, client: str, sender: str, recipient: str) -> str:
        """What the script says to this recipient."""
        with self._lock:
            before = self._seen[client, sender, recipient]
            self._seen[client, sender, recipient] += 1
            reply = self._script(Asked(client, sender, recipient, before)).format(client=client)
            self.answers[client, reply[:3]] += 1
        return reply

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


def _address(argument: str) -> str:
    return argument[argument.index("<") + 1 : argument.rindex(">")] if "<" in argument else argument
