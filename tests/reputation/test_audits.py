"""Audits against a real name server, a real HTTPS server and a real SMTP server, all on loopback."""

from __future__ import annotations

import asyncio
import base64
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from django.utils import timezone

from reputation import audit_gathering, audits, smtp_probe
from reputation.domain.audit import transport
from reputation.domain.audit.findings import Check, Finding, Result
from reputation.models import AuditReport, AuditTarget
from reputation.tasks import audit_due, audit_refused, score_all
from telemetry.domain.event import Event
from telemetry.domain.vocab import EventType
from telemetry.ingest import record_batch
from telemetry.models import Source
from tests import dns_servers
from tests.dns_servers import Knot
from tests.servers import free_port

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(bool(dns_servers.why_not("knotd")), reason=dns_servers.why_not("knotd")),
]
GOOD, BAD, IP, IP6, BAD_IP = "good.test", "bad.test", "192.0.2.10", "2001:db8::10", "192.0.2.66"
PROBLEM, ADVICE, UNCHECKED, OK = Result.PROBLEM, Result.ADVICE, Result.UNCHECKED, Result.OK
KEY = base64.b64encode(
    rsa.generate_private_key(65537, 2048)
    .public_key()
    .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()
HALVES = f'"v=DKIM1; k=rsa; p={KEY[:200]}" "{KEY[200:]}"'
ZONES = {
    "test": f"""
good TXT "v=spf1 ip4:{IP} ip6:{IP6} mx -all"
good TXT "something else"
good MX 10 mx.good
mx.good A 127.0.0.1
mail.good A {IP}
mail.good AAAA {IP6}
s1._domainkey.good TXT {HALVES}
_dmarc.good TXT "v=DMARC1; p=reject; rua=mailto:dmarc@good.test"
_mta-sts.good TXT "v=STSv1; id=20261120"
mta-sts.good A 127.0.0.1
_smtp._tls.good TXT "v=TLSRPTv1; rua=mailto:tls@good.test"
bad TXT "v=spf1 ip4:198.51.100.1 -all"
bad MX 10 mx.bad
mx.bad A 127.0.0.1
s1._domainkey.bad TXT "v=DKIM1; p="
""",
    "2.0.192.in-addr.arpa": "10 PTR mail.good.test.\n66 PTR host.bad.test.\n",
    "8.b.d.0.1.0.0.2.ip6.arpa": "0.1.0.0" + ".0" * 20 + " PTR mail.good.test.\n",
}


class Certificates:
    """An authority of our own and a certificate by it, for the servers of the tests."""

    def __init__(self, folder: Path, *names: str, days: int = 90) -> None:
        now = datetime.now(UTC)
        authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])

        def signed(subject: x509.Name, public: Any, ends: datetime, ca: bool) -> x509.Certificate:
            start = x509.CertificateBuilder().issuer_name(root).subject_name(subject).public_key(public)
            dated = start.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=400))
            made = dated.not_valid_after(ends).add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
            if not ca:
                made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
            return made.sign(authority, hashes.SHA256())

        ca = signed(root, authority.public_key(), now + timedelta(days=365), True)
        leaf = signed(x509.Name([]), key.public_key(), now + timedelta(days=days), False)
        self.authority, self.chain = folder / "ca.pem", folder / "chain.pem"
        self.authority.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        self.chain.write_bytes(secret + leaf.public_bytes(serialization.Encoding.PEM))

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        return context


class Smtp:
    """An SMTP server that answers as it is told; `refuses` maps local parts to replies."""

    def __init__(self, context: ssl.SSLContext | None, refuses: dict[str, str] | None = None) -> None:
        self.port, self.context, self.refuses = free_port(), context, refuses or {}
        self.heard: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Smtp:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        async def serve() -> None:
            await asyncio.start_server(self._talk, "127.0.0.1", self.port)
            self._ready.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secured = False
        writer.write(b"220 mx ESMTP\r\n")
        while line := (await reader.readline()).decode().strip():
            self.heard.append(line)
            word = line.split(" ")[0].upper()
            if word == "EHLO":
                offered = "" if secured or self.context is None else "250-STARTTLS\r\n"
                writer.write(f"250-mx\r\n{offered}250 SIZE 1000\r\n".encode())
            elif word == "STARTTLS" and self.context is not None:
                writer.write(b"220 go\r\n")
                try:
                    await writer.start_tls(self.context)
                except (ssl.SSLError, ConnectionError):
                    break
                secured = True
            elif word == "RCPT":
                local = line.partition("<")[2].partition("@")[0]
                writer.write(self.refuses.get(local, "250 2.1.5 ok").encode() + b"\r\n")
            elif word == "QUIT":
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()


@pytest.fixture(scope="module")
def knot() -> Iterator[Knot]:
    with Knot(ZONES) as server:
        yield server


@pytest.fixture(autouse=True)
def _asks_knot(knot: Knot, settings: Any) -> None:
    settings.DNS_SERVERS = (knot.address,)
    settings.DNS_TIMEOUT = timedelta(seconds=2)
    settings.ALLOW_PRIVATE_URLS = True


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    made = Certificates(tmp_path, "mx.good.test", "mta-sts.good.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
    return made


@pytest.fixture
def policy(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The web server of mta-sts.good.test, which the system's resolver is told to find here."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmax_age: 604800\r\n"
            found = self.path == "/.well-known/mta-sts.txt" and self.headers["Host"].startswith("mta-sts.good.test")
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = certificates.context().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    real, port, url = socket.getaddrinfo, server.server_address[1], transport.policy_url

    def resolve(host: Any, *rest: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == "mta-sts.good.test" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(transport, "policy_url", lambda domain: url(domain).replace(".test/", f".test:{port}/"))
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture
def record(source: Source, make_event: Callable[..., Event]) -> Callable[..., None]:
    def send(domain: str, *ips: str, count: int = 1, ago: timedelta = timedelta(minutes=2), **fields: Any) -> None:
        at = timezone.now() - ago
        events = [
            make_event(sending_domain=domain, sending_ip=ip, occurred_at=at, event_id=f"{at}{ip}{n}{fields}", **fields)
            for ip in ips
            for n in range(count)
        ]
        record_batch(source, events, now=timezone.now())

    return send


def found_by(report: AuditReport) -> dict[tuple[Check, str], list[Finding]]:
    found: dict[tuple[Check, str], list[Finding]] = {}
    for entry in report.found:
        found.setdefault((entry.check, entry.about), []).append(entry)
    return found


def audit(kind: str, name: str) -> AuditReport:
    return audits.audit(kind, name, now=timezone.now())


@pytest.mark.usefixtures("policy")
def test_a_correct_domain_has_nothing_wrong(
    record: Callable[..., None], certificates: Certificates, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUDIT_SMTP_PROBE = True
    record(GOOD, IP, IP6)
    AuditTarget.objects.create(kind="domain", name=GOOD, dkim_selectors=["s1"])
    for ip in (IP, IP6):
        AuditTarget.objects.create(kind="ip", name=ip, helo_names=["mail.good.test"])
    with Smtp(certificates.context()) as server:
        monkeypatch.setattr(smtp_probe.probe, "__kwdefaults__", {"port": server.port, "timeout": timedelta(seconds=5)})
        report = audit("domain", GOOD)
    assert {(entry.check, entry.result) for entry in report.found} == {(check, OK) for check in Check}, report.found
    assert (report.score, report.problems, report.unchecked, report.why) == (100, 0, 0, "asked")
    assert "RCPT TO:<postmaster@good.test>" in server.heard
    assert not any(line.startswith(("DATA", "BDAT")) for line in server.heard)
    for ip in (IP, IP6):
        own = audit("ip", ip)
        checks = {Check.SPF, Check.PTR, Check.FORWARD_CONFIRMED, Check.HELO}
        assert {(entry.check, entry.result) for entry in own.found} == {(check, OK) for check in checks}


def test_a_broken_domain_is_told_exactly_what_to_publish(
    record: Callable[..., None], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUDIT_SMTP_PROBE = True
    record(BAD, BAD_IP, "192.0.2.77")
    AuditTarget.objects.create(kind="domain", name=BAD, dkim_selectors=["s1"])
    with Smtp(None, {"postmaster": "550 5.1.1 no such user", "abuse": "550 5.1.1 no such user"}) as server:
        monkeypatch.setattr(smtp_probe.probe, "__kwdefaults__", {"port": server.port, "timeout": timedelta(seconds=5)})
        report = audit("domain", BAD)
    found = found_by(report)
    assert report.score == 0
    (spf,) = found[Check.SPF, BAD]
    assert spf.seen == ("v=spf1 ip4:198.51.100.1 -all",)
    assert spf.publish == ('bad.test. IN TXT "v=spf1 ip4:198.51.100.1 ip4:192.0.2.66 ip4:192.0.2.77 -all"',)
    (dkim,) = found[Check.DKIM, "s1._domainkey.bad.test"]
    assert dkim.says.startswith("The key is revoked")
    (dmarc,) = found[Check.DMARC, BAD]
    assert dmarc.publish == ('_dmarc.bad.test. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@bad.test"',)
    assert found[Check.PTR, BAD_IP][0].result is OK
    (unconfirmed,) = found[Check.FORWARD_CONFIRMED, BAD_IP]
    assert unconfirmed.publish == ("host.bad.test. IN A 192.0.2.66",)
    (pointer,) = found[Check.PTR, "192.0.2.77"]
    assert pointer.publish == ("77.2.0.192.in-addr.arpa. IN PTR mail.bad.test.", "mail.bad.test. IN A 192.0.2.77")
    assert found[Check.TLS, "mx.bad.test"][0].says == "mx.bad.test does not offer STARTTLS."
    assert found[Check.MTA_STS, BAD][0].publish == ('_mta-sts.bad.test. IN TXT "v=STSv1; id=1"',)
    assert found[Check.POSTMASTER, "postmaster@bad.test"][0].seen == (
        "mx.bad.test: RCPT TO:<postmaster@bad.test> 550 5.1.1 no such user",
    )
    assert all(entry.why for entry in report.found if entry.result is PROBLEM)


def test_without_the_switch_nobody_is_probed(record: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("probed")

    monkeypatch.setattr(smtp_probe, "probe", never)
    record(GOOD, IP)
    found = found_by(audit("domain", GOOD))
    for check in (Check.TLS, Check.POSTMASTER, Check.ABUSE):
        (entry,) = found[check, GOOD]
        assert (entry.result, entry.says) == (
            UNCHECKED,
            "Not checked: the SMTP probe is off (GS_AUDIT_SMTP_PROBE).",
        )


@pytest.mark.parametrize(
    ("names", "days", "problem"),
    [
        (["mx.other.test"], 90, "Hostname mismatch, certificate is not valid for 'mx.good.test'."),
        (["mx.good.test"], -3, "certificate has expired"),
    ],
)
def test_a_certificate_that_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], days: int, problem: str
) -> None:
    made = Certificates(tmp_path, *names, days=days)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
    with Smtp(made.context()) as server:
        seen = asyncio.run(smtp_probe.probe("mx.good.test", ["127.0.0.1"], GOOD, port=server.port))
    assert (seen.trouble, seen.starttls, seen.tls_problem) == ("", True, problem)
    assert seen.replies == {"postmaster": (250, "2.1.5 ok"), "abuse": (250, "2.1.5 ok")}


def test_a_host_in_a_private_network_is_not_asked(settings: Any) -> None:
    settings.ALLOW_PRIVATE_URLS = False
    seen = asyncio.run(smtp_probe.probe("mx.good.test", ["127.0.0.1"], GOOD, port=1))
    assert seen.trouble == "mx.good.test lies in a private network"


@pytest.mark.parametrize("rule", [dns_servers.servfail, dns_servers.refused])
def test_what_dns_does_not_say_is_not_checked_and_costs_nothing(
    rule: dns_servers.Rule, record: Callable[..., None], settings: Any
) -> None:
    record("away.test", IP)
    AuditTarget.objects.create(kind="domain", name="away.test", dkim_selectors=["s1"])
    with dns_servers.Scripted({"test": rule, "arpa": rule}) as server:
        settings.DNS_SERVERS = (server.address,)
        report = audit("domain", "away.test")
    assert {entry.result for entry in report.found} == {UNCHECKED}
    assert (report.score, report.problems, report.unchecked) == (None, 0, len(report.found))


def test_an_audit_ends_in_time_though_nobody_answers(
    record: Callable[..., None], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_gathering, "TIME", timedelta(seconds=0.5))
    record(GOOD, IP)
    with dns_servers.Scripted({"test": dns_servers.dropped, "arpa": dns_servers.dropped}) as server:
        settings.DNS_SERVERS = (server.address,)
        began = timezone.now()
        report = audit("domain", GOOD)
    assert timezone.now() - began < timedelta(seconds=2)
    assert {entry.result for entry in report.found} == {UNCHECKED}


def test_one_question_is_asked_once_an_audit(record: Callable[..., None], settings: Any) -> None:
    record(GOOD, *(f"192.0.2.{number}" for number in range(1, 9)))
    rule = dns_servers.answering({"good": {"TXT": ['"v=spf1 include:a.test include:b.test -all"']}})
    with dns_servers.Scripted({"test": rule, "arpa": rule}) as server:
        settings.DNS_SERVERS = (server.address,)
        audit("domain", GOOD)
    assert len(server.asked) == len(set(server.asked))


# --- who is audited, and when ----------------------------------------------------------------------------------------


def test_active_senders_are_audited_at_once_and_then_weekly(record: Callable[..., None]) -> None:
    record(BAD, BAD_IP)
    score_all()
    audit_due()
    assert set(AuditReport.objects.values_list("kind", "subject", "why")) == {
        ("domain", BAD, "weekly"),
        ("ip", BAD_IP, "weekly"),
    }
    audit_due()
    assert AuditReport.objects.count() == 2
    now = timezone.now()
    for target in AuditTarget.objects.all():
        assert timedelta(days=3) < target.due_at - now < timedelta(days=11)
        assert target.claimed_until is None
    AuditTarget.objects.update(due_at=now)
    audit_due()
    assert AuditReport.objects.count() == 4
    assert AuditReport.objects.filter(is_latest=True).count() == 2


def test_a_sender_of_whom_only_failures_are_reported_is_audited_too(record: Callable[..., None]) -> None:
    unknown = {"type": EventType.BOUNCE, "smtp_code": 550, "enhanced_code": "5.1.1", "reply": "550 5.1.1 no such user"}
    record(BAD, BAD_IP, **unknown)
    record("[192.0.2.1]", BAD_IP, **unknown)
    score_all()
    audit_due()
    assert set(AuditReport.objects.values_list("kind", "subject")) == {("domain", BAD), ("ip", BAD_IP)}


def test_the_week_is_spread_evenly() -> None:
    now = timezone.now()
    slots = [audits.next_slot("domain", f"d{number}.test", now) for number in range(700)]
    by_day = [sum(1 for slot in slots if int((slot - now - audits.WEEK / 2) / audits.DAY) == day) for day in range(7)]
    assert sum(by_day) == 700
    assert min(by_day) > 60
    assert audits.next_slot("domain", BAD, now) == audits.next_slot("domain", BAD, now + timedelta(seconds=1))


def test_a_sender_without_mail_is_not_audited(record: Callable[..., None]) -> None:
    AuditTarget.objects.create(kind="domain", name=GOOD, due_at=timezone.now())
    audit_due()
    assert not AuditReport.objects.exists()
    assert AuditTarget.objects.get().due_at > timezone.now() + timedelta(days=3)


REFUSED = {
    "type": EventType.BOUNCE,
    "recipient_domain": "receiver.example",
    "smtp_code": 550,
    "enhanced_code": "5.7.23",
    "reply": "550 5.7.23 SPF validation failed",
}


def test_refusals_for_authentication_bring_an_audit_once_in_six_hours(record: Callable[..., None]) -> None:
    record(BAD, BAD_IP, count=2, **REFUSED)
    audit_refused()
    assert not AuditReport.objects.exists()
    record(BAD, BAD_IP, count=3, ago=timedelta(minutes=1), **REFUSED)
    audit_refused()
    reports = {row.kind: row for row in AuditReport.objects.all()}
    assert reports["domain"].why == reports["ip"].why == "causes"
    assert reports["domain"].evidence == {"authentication": 5}
    audit_refused()
    assert AuditReport.objects.count() == 2
    AuditTarget.objects.update(by_causes_at=timezone.now() - timedelta(hours=6))
    audit_refused()
    assert AuditReport.objects.count() == 4


def test_an_audit_for_causes_that_died_is_done_again_and_one_that_failed_is_not(
    record: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(BAD, BAD_IP, count=3, **REFUSED)
    claimed = AuditTarget.objects.create(kind="domain", name=BAD, claimed_until=timezone.now() + timedelta(minutes=1))
    audit_refused()
    assert not AuditReport.objects.filter(kind="domain").exists()
    AuditTarget.objects.filter(pk=claimed.pk).update(claimed_until=timezone.now())

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError
        yield

    with monkeypatch.context() as patched:
        patched.setattr(transport, "audit_tls_rpt", broken)
        with pytest.raises(ZeroDivisionError):
            audits.audit_refused(now=timezone.now())
    audits.audit_refused(now=timezone.now())
    assert not AuditReport.objects.filter(kind="domain").exists()
    claimed.refresh_from_db()
    assert claimed.by_causes_at is not None


def test_dns_is_the_diagnosis_and_its_evidence_is_the_finding(record: Callable[..., None]) -> None:
    record(BAD, BAD_IP, count=6, **REFUSED)
    told = audits.diagnosis_of(audit("domain", BAD), now=timezone.now())
    assert told is not None
    assert told.title == "DNS, not reputation"
    assert {entry.check for entry in told.evidence} == {Check.SPF, Check.DMARC}
    record(GOOD, IP, count=6, **REFUSED)
    AuditTarget.objects.create(kind="domain", name=GOOD, dkim_selectors=["s1"])
    assert audits.diagnosis_of(audit("domain", GOOD), now=timezone.now()) is None


def test_of_two_who_audit_one_sender_one_does(record: Callable[..., None]) -> None:
    record(BAD, BAD_IP)
    soon = timezone.now() + timedelta(minutes=1)
    AuditTarget.objects.create(kind="domain", name=BAD, due_at=timezone.now(), claimed_until=soon)
    with pytest.raises(audits.BusyError):
        audit("domain", BAD)
    audit_due()
    assert not AuditReport.objects.filter(kind="domain").exists()
    AuditTarget.objects.update(claimed_until=timezone.now())
    audit("domain", BAD)


def test_an_audit_that_fails_is_due_later_and_the_others_are_kept(
    record: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(BAD, BAD_IP)
    record(GOOD, IP)
    for name in (BAD, GOOD):
        AuditTarget.objects.create(kind="domain", name=name, due_at=timezone.now())
    real = transport.audit_tls_rpt

    def broken(domain: str) -> Any:
        if domain == BAD:
            raise ZeroDivisionError
        return (yield from real(domain))

    monkeypatch.setattr(transport, "audit_tls_rpt", broken)
    with pytest.raises(ZeroDivisionError):
        audits.audit_due(now=timezone.now())
    assert AuditReport.objects.get().subject == GOOD
    failed = AuditTarget.objects.get(name=BAD)
    assert failed.claimed_until is None
    assert timedelta(minutes=50) < failed.due_at - timezone.now() < timedelta(minutes=70)


def test_an_ip_is_judged_by_the_envelope_domains_that_use_it(record: Callable[..., None]) -> None:
    record("news.test", IP, count=3)
    record(BAD, IP)
    record("[192.0.2.1]", IP)
    AuditTarget.objects.create(kind="domain", name="news.test", envelope_domain=GOOD)
    report = audit("ip", IP)
    told = {entry.about: entry.result for entry in report.found if entry.check is Check.SPF}
    assert told == {GOOD: OK, BAD: PROBLEM}
    assert report.score == 80
