"""Real DNS servers on loopback: Knot and rbldnsd from Debian, and one that misbehaves by script.

    with Knot({"good.test": "@ MX 10 mail\nmail A 192.0.2.10"}) as knot: ...
    with Rbldnsd({"bl.test": ("ip4set", ":127.0.0.2:Listed, see $\n192.0.2.66")}) as rbl: ...
    with Scripted({"dead.test": dropped, "slow.test": delayed(2, listing("192.0.2.66"))}) as server: ...

Each has `.address`, which a client may be told to ask: ("127.0.0.1", port).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rrset

SBIN = Path("/usr/sbin")
LOOPBACK = "127.0.0.1"
USER_WITHOUT_RIGHTS = "nobody:nogroup"
_SOA = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n"


def why_not(*programs: str) -> str:
    """Why these servers cannot run here; empty when they can."""
    missing = [name for name in programs if not (SBIN / name).exists() and shutil.which(name) is None]
    return f"{', '.join(missing)} not installed: run .ci/system-packages as root" if missing else ""


def free_udp_port() -> int:
    """A port on loopback that is free for UDP and for TCP."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind((LOOPBACK, 0))
            with suppress(OSError):
                tcp.bind((LOOPBACK, udp.getsockname()[1]))
                return int(udp.getsockname()[1])


class _Program:
    """A server program in a folder of its own, ended with the block."""

    process: subprocess.Popen[bytes]

    def __init__(self) -> None:
        self.port = free_udp_port()
        self.address = (LOOPBACK, self.port)
        self.folder = Path(tempfile.mkdtemp(prefix="gs-dns-"))
        self.folder.chmod(0o755)

    def _start(self, command: list[str], zones: Mapping[str, Any]) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        probe = dns.message.make_query(next(iter(zones)), "SOA")
        deadline = time.monotonic() + 20
        while True:
            with suppress(Exception):
                dns.query.udp(probe, LOOPBACK, port=self.port, timeout=0.2)
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it and remove its folder."""
        if hasattr(self, "process"):
            self.process.terminate()
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *_: object) -> None:
        self.stop()


class Knot(_Program):
    """An authoritative server; zones are texts of records, to which SOA and NS are added. Other names: REFUSED."""

    def __init__(self, zones: Mapping[str, str]) -> None:
        super().__init__()
        self.zones = dict(zones)

    def __enter__(self) -> Knot:
        lines = [
            f'server:\n  rundir: "{self.folder}"\n  listen: "{LOOPBACK}@{self.port}"\n  udp-workers: 1\n'
            "  tcp-workers: 1\n  background-workers: 1",
            "log:\n  - target: stderr\n    any: warning",
            f'database:\n  storage: "{self.folder}/db"',
            f'template:\n  - id: default\n    storage: "{self.folder}"\n    zonefile-sync: -1\n'
            "    journal-content: none",
            "zone:",
        ]
        for name, records in self.zones.items():
            (self.folder / f"{name}.zone").write_text(f"$ORIGIN {name}.\n$TTL 60\n{_SOA}{records}\n")
            lines.append(f'  - domain: "{name}"\n    file: "{name}.zone"')
        (self.folder / "knot.conf").write_text("\n".join(lines) + "\n")
        self._start([str(SBIN / "knotd"), "-c", "knot.conf"], self.zones)
        return self


class Rbldnsd(_Program):
    """A blocklist server; zones are (data set type, data), as in rbldnsd(8). SOA, NS and TTL are added."""

    def __init__(self, zones: Mapping[str, tuple[str, str]]) -> None:
        super().__init__()
        self.zones = dict(zones)

    def __enter__(self) -> Rbldnsd:
        arguments = []
        for name, (kind, _) in self.zones.items():
            self._write(name)
            arguments.append(f"{name}:{kind}:{name}.data")
        statistics = self.folder / "stats"
        statistics.touch()
        statistics.chmod(0o666)  # written by the user without rights
        user = ["-u", USER_WITHOUT_RIGHTS] if os.geteuid() == 0 else []
        self._start(
            [
                str(SBIN / "rbldnsd"),
                *("-n", *user, "-w", str(self.folder), "-b", f"{LOOPBACK}/{self.port}", "-c", "1s", "-s", "+stats"),
                *arguments,
            ],
            self.zones,
        )
        return self

    def _write(self, name: str) -> None:
        header = f"$SOA 60 ns.{name} hostmaster.{name} 0 600 300 86400 60\n$NS 60 ns.{name}\n$TTL 60\n"
        (self.folder / f"{name}.data").write_text(header + self.zones[name][1] + "\n")

    def queries(self) -> Counter[str]:
        """Questions by zone since the start; waits until the server has written the last of them down."""
        time.sleep(1.2)
        found: Counter[str] = Counter()
        for line in (self.folder / "stats").read_text().splitlines():
            for entry in line.split()[1:]:
                zone, total, *_ = entry.split(":")
                found[zone] += int(total)
        return found

    def change(self, name: str, data: str) -> None:
        """Give a zone other data; in force within two seconds, when the server has looked at its files again."""
        self.zones[name] = (self.zones[name][0], data)
        path = self.folder / f"{name}.data"
        before = path.stat().st_mtime
        self._write(name)
        os.utime(path, (before + 2, before + 2))
        time.sleep(2.1)


# --- by script -------------------------------------------------------------------------------------------------------

Rule: TypeAlias = Callable[[dns.message.Message, str, bool], "tuple[float, dns.message.Message | None]"]
"""(question, its name below the zone, whether over TCP) → (seconds to wait, the answer or None for none)."""


def dropped(query: dns.message.Message, name: str, tcp: bool) -> tuple[float, dns.message.Message | None]:
    """Nothing is ever answered."""
    return 0, None


def failing(rcode: dns.rcode.Rcode) -> Rule:
    """Every answer has this code and nothing else."""

    def rule(query: dns.message.Message, name: str, tcp: bool) -> tuple[float, dns.message.Message | None]:
        answer = dns.message.make_response(query, recursion_available=True)
        answer.set_rcode(rcode)
        return 0, answer

    return rule


servfail, refused = failing(dns.rcode.SERVFAIL), failing(dns.rcode.REFUSED)


def answering(records: Mapping[str, Mapping[str, list[str]]], ttl: int = 60) -> Rule:
    """Answers from {name below the zone: {type: [record, …]}}; "*" stands for every other name, "" for the zone."""

    def rule(query: dns.message.Message, name: str, tcp: bool) -> tuple[float, dns.message.Message | None]:
        answer = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        found = records.get(name, records.get("*"))
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            texts = found.get(dns.rdatatype.to_text(question.rdtype), [])
            if texts:
                answer.answer.append(dns.rrset.from_text_list(question.name, ttl, "IN", question.rdtype, texts))
        return 0, answer

    return rule


def listing(*entries: str, code: str = "127.0.0.2", ttl: int = 60, canary: bool = True) -> Rule:
    """A blocklist of these query names (such as 66.2.0.192), with the test point of RFC 5782 unless told otherwise."""
    one = {"A": [code], "TXT": ['"listed, see https://bl.test/"']}
    return answering(dict.fromkeys((*entries, *(["2.0.0.127", "test"] if canary else [])), one), ttl)


def delayed(seconds: float, rule: Rule) -> Rule:
    """The same answers, late."""
    return lambda query, name, tcp: (seconds, rule(query, name, tcp)[1])


def truncated(rule: Rule) -> Rule:
    """Over UDP no more than "ask over TCP"."""

    def cut(query: dns.message.Message, name: str, tcp: bool) -> tuple[float, dns.message.Message | None]:
        wait, answer = rule(query, name, tcp)
        if answer is not None and not tcp:
            answer.flags |= dns.flags.TC
            answer.answer.clear()
        return wait, answer

    return cut


class Scripted:
    """A server that does what its rules say, by zone; a rule may be exchanged while it runs. Other names: REFUSED."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = dict(rules)
        self.asked: list[tuple[str, str, str]] = []
        """(name, type, "udp" or "tcp") of every question that arrived."""
        self.port = free_udp_port()
        self.address = (LOOPBACK, self.port)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Scripted:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def queries(self, zone: str) -> int:
        """How many questions arrived for names of this zone."""
        return self.by_zone()[zone]

    def by_zone(self) -> Counter[str]:
        """Questions by zone."""
        return Counter(zone for name, _, _ in self.asked if (zone := self._zone(name)) is not None)

    def _zone(self, name: str) -> str | None:
        return next((zone for zone in self.rules if name == zone or name.endswith(f".{zone}")), None)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self

        class Udp(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, peer: Any) -> None:
                wait, answer = server._answer(data, tcp=False)
                if answer is not None:
                    server._loop.call_later(wait, self.transport.sendto, answer, peer)

        async def tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                length = int.from_bytes(await reader.readexactly(2), "big")
                wait, answer = server._answer(await reader.readexactly(length), tcp=True)
                await asyncio.sleep(wait)
                if answer is None:
                    await asyncio.sleep(60)
                else:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
            writer.close()

        async def start() -> None:
            await self._loop.create_datagram_endpoint(Udp, local_addr=self.address)
            await asyncio.start_server(tcp, *self.address)
            self._ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    def _answer(self, data: bytes, *, tcp: bool) -> tuple[float, bytes | None]:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, dns.rdatatype.to_text(question.rdtype), "tcp" if tcp else "udp"))
        zone = self._zone(name)
        rule = refused if zone is None else self.rules[zone]
        wait, answer = rule(query, name.removesuffix(zone or "").rstrip("."), tcp)
        return wait, answer.to_wire() if answer is not None else None
