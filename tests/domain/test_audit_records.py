"""DKIM, DMARC, PTR, MX, MTA-STS and TLS-RPT: exact findings, the record to publish, and the score."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dns.rdata
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from reputation.domain.audit import dkim, dmarc, reverse, spf_findings, transport
from reputation.domain.audit.asking import Asking, Reply, answered
from reputation.domain.audit.diagnosis import diagnose
from reputation.domain.audit.dkim import KeyFormatError, Selector, rsa_bits
from reputation.domain.audit.findings import POINTS, Check, Finding, Result, in_order, score, txt
from reputation.domain.audit.probe import Probed, judge, not_probed
from tests.conftest import NOON

DOMAIN = "shop.example"
SELECTOR = Selector("s1", DOMAIN)
KEY_NAME = "s1._domainkey.shop.example"
PROBLEM, ADVICE, UNCHECKED, OK = Result.PROBLEM, Result.ADVICE, Result.UNCHECKED, Result.OK


def run(plan: Asking[list[Finding]], records: Mapping[str, str | list[str] | Reply]) -> list[Finding]:
    """`records`: "name TYPE" → record, records or reply."""
    table = {}
    for key, value in records.items():
        name, rdtype = key.split(" ")
        values = [value] if isinstance(value, str) else value
        table[name, rdtype] = values if isinstance(values, Reply) else Reply(tuple(values))
    return answered(plan, table)


def results(found: list[Finding]) -> list[tuple[Check, Result]]:
    return [(entry.check, entry.result) for entry in found]


# --- DKIM ------------------------------------------------------------------------------------------------------------


def der(bits: int, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    key = rsa.generate_private_key(65537, max(bits, 1024)).public_key()
    if bits >= 1024:
        return key.public_bytes(Encoding.DER, form)
    # No library makes a key as short as some that are still published.
    modulus = b"\x00" + (1 << (bits - 1) | 1).to_bytes(bits // 8, "big")
    inner = b"\x02" + bytes([len(modulus)]) + modulus + b"\x02\x03\x01\x00\x01"
    inner = b"\x30" + bytes([len(inner)]) + inner
    oid = bytes.fromhex("300d06092a864886f70d0101010500")
    outer = oid + b"\x03" + bytes([len(inner) + 1]) + b"\x00" + inner
    return b"\x30" + bytes([len(outer)]) + outer


def key(bits: int = 2048) -> str:
    return base64.b64encode(der(bits)).decode()


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
@pytest.mark.parametrize("bits", [1024, 2048])
def test_the_length_of_a_key_is_read_from_either_form(bits: int, form: PublicFormat) -> None:
    assert rsa_bits(der(bits, form)) == bits
    with pytest.raises(KeyFormatError):
        rsa_bits(der(bits, form)[:-9])


@pytest.mark.parametrize(
    ("bits", "result", "says"),
    [
        (512, PROBLEM, "The RSA key has 512 bits; below 1024 it counts as no signature."),
        (1024, ADVICE, "The RSA key has 1024 bits: it works, and 2048 are advised."),
        (2048, OK, "An RSA key of 2048 bits."),
    ],
)
def test_a_key_is_judged_by_its_length(bits: int, result: Result, says: str) -> None:
    record = f"v=DKIM1; k=rsa; p={key(bits)}"
    (found,) = run(dkim.audit_dkim(DOMAIN, [SELECTOR]), {f"{KEY_NAME} TXT": record})
    assert (found.check, found.result, found.about, found.says) == (Check.DKIM, result, KEY_NAME, says)
    assert found.seen == (record,)


@pytest.mark.parametrize(
    ("record", "result", "says"),
    [
        ("v=DKIM1; p=", PROBLEM, "The key is revoked (p= is empty)"),
        ("v=DKIM1; k=rsa", PROBLEM, "The record holds no key"),
        ("v=DKIM1; p=abc$", PROBLEM, "p= is not a public key"),
        ("v=DKIM1; p=QUJD", PROBLEM, "p= is not a public key"),
        ("v=DKIM1; k=dsa; p=QUJD", PROBLEM, "The key type dsa is unknown"),
        ("v=DKIM2; p={key}", PROBLEM, "The record does not begin with v=DKIM1"),
        ("p={key}; v=DKIM1", PROBLEM, "The record does not begin with v=DKIM1"),
        ("v=DKIM1; p={key}; p={key}", PROBLEM, "The key record cannot be read: the tag p is there twice"),
        ("k=rsa; p={key};", OK, "An RSA key of 2048 bits"),
        ("v=DKIM1; k=ed25519; p={ed}", OK, "An Ed25519 key"),
        ("v=DKIM1; k=ed25519; p=QUJD", PROBLEM, "An Ed25519 key has 32 bytes; this has 3"),
    ],
)
def test_a_key_record_is_read_as_receivers_do(record: str, result: Result, says: str) -> None:
    edwards = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    text = record.replace("{key}", key()).replace("{ed}", base64.b64encode(edwards).decode())
    (found,) = run(dkim.audit_dkim(DOMAIN, [SELECTOR]), {f"{KEY_NAME} TXT": text})
    assert found.result is result
    assert found.says.startswith(says)


def test_a_test_key_one_for_sha1_and_one_that_is_not_for_mail() -> None:
    secret = key()
    (fine, testing) = run(dkim.audit_dkim(DOMAIN, [SELECTOR]), {f"{KEY_NAME} TXT": f"v=DKIM1; t=y; p={secret}"})
    assert (fine.result, testing.result) == (OK, ADVICE)
    assert testing.publish == (txt(KEY_NAME, f"v=DKIM1; p={secret}"),)
    found = run(dkim.audit_dkim(DOMAIN, [SELECTOR]), {f"{KEY_NAME} TXT": f"v=DKIM1; h=sha1; s=tlsrpt; p={secret}"})
    assert [entry.result for entry in found] == [OK, PROBLEM, PROBLEM]


def test_a_missing_key_a_failing_server_and_no_selector() -> None:
    plan = dkim.audit_dkim
    (missing,) = run(plan(DOMAIN, [SELECTOR]), {})
    assert (missing.result, missing.says) == (PROBLEM, f"There is no key at {KEY_NAME}.")
    assert missing.publish[0].startswith(f'{KEY_NAME}. IN TXT "v=DKIM1; k=rsa; p=<')
    assert results(run(plan(DOMAIN, [SELECTOR]), {f"{KEY_NAME} TXT": Reply(trouble="SERVFAIL")})) == [
        (Check.DKIM, UNCHECKED)
    ]
    (twice,) = run(plan(DOMAIN, [SELECTOR]), {f"{KEY_NAME} TXT": ["p=a", "p=b"]})
    assert twice.says.startswith(f"There are 2 records at {KEY_NAME}")
    # RFC 8020: below a name that does not exist nothing does; below one without a record there may be keys.
    assert results(run(plan(DOMAIN, []), {})) == [(Check.DKIM, PROBLEM)]
    assert results(run(plan(DOMAIN, []), {f"_domainkey.{DOMAIN} TXT": []})) == [(Check.DKIM, UNCHECKED)]


# --- DMARC -----------------------------------------------------------------------------------------------------------

AT = "_dmarc.shop.example TXT"


def of_dmarc(
    records: Mapping[str, str | list[str] | Reply],
    domain: str = DOMAIN,
    envelope: str = "",
    selectors: tuple[Selector, ...] = (),
) -> list[Finding]:
    return run(dmarc.audit_dmarc(domain, envelope or domain, selectors), records)


def test_missing_none_and_reject() -> None:
    (missing,) = of_dmarc({})
    assert (missing.result, missing.says) == (PROBLEM, "There is no DMARC record for shop.example, nor above it.")
    assert missing.publish == ('_dmarc.shop.example. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@shop.example"',)
    (weak, fine) = of_dmarc({AT: "v=DMARC1; p=none; rua=mailto:d@shop.example"})
    assert (weak.result, fine.says) == (ADVICE, "The policy is none, by _dmarc.shop.example.")
    assert weak.publish == ('_dmarc.shop.example. IN TXT "v=DMARC1; p=quarantine; rua=mailto:d@shop.example"',)
    (reject,) = of_dmarc({AT: "v=DMARC1;p=reject;rua=mailto:d@shop.example"})
    assert (reject.result, reject.says) == (OK, "The policy is reject, by _dmarc.shop.example.")


@pytest.mark.parametrize(
    ("record", "result"),
    [
        ("v=DMARC1; p=maybe; rua=mailto:d@shop.example", PROBLEM),
        ("v=DMARC1; p=reject; sp=perhaps", PROBLEM),
        ("v=DMARC1", PROBLEM),
        ("v=DMARC1; p=reject; p=none", PROBLEM),
        ("v=DMARC1; p reject", PROBLEM),
        ("v=dmarc1; p=reject", PROBLEM),
        ("p=reject; v=DMARC1", PROBLEM),
        ("v=DMARC1; p=reject; rua=dmarc@shop.example", ADVICE),
        ("v=DMARC1; p=reject", ADVICE),
        ("v=DMARC1; p=reject; t=y; rua=mailto:d@shop.example", ADVICE),
        ("v=DMARC1; p=reject; pct=20; rua=mailto:d@shop.example", ADVICE),
        ("v = DMARC1 ; p = reject ; rua = mailto:d@shop.example ;", OK),
        ("v=DMARC1; rua=mailto:d@mail.shop.example!10m; p=quarantine; unknown=x", OK),
    ],
)
def test_a_record_is_judged(record: str, result: Result) -> None:
    assert of_dmarc({AT: record})[0].result is result


def test_two_records_are_none() -> None:
    (found,) = of_dmarc({AT: ["v=DMARC1; p=none", "v=DMARC1; p=reject"]})
    assert (found.result, found.seen) == (PROBLEM, ("v=DMARC1; p=none", "v=DMARC1; p=reject"))


def test_a_subdomain_is_under_the_policy_for_subdomains() -> None:
    record = "v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@shop.example"
    (found,) = of_dmarc({AT: record}, domain="news.eu.shop.example")
    assert (found.result, found.says) == (OK, "The policy is quarantine, by _dmarc.shop.example.")


def test_the_tree_walk_finds_the_organisation() -> None:
    def organisation(domain: str, records: Mapping[str, str]) -> tuple[str, str]:
        table = {(name, "TXT"): Reply((text,)) for name, text in records.items()}
        walk = answered(dmarc.walk_up(domain), table)
        return walk.organisation, walk.at

    assert organisation("a.shop.example", {"_dmarc.shop.example": "v=DMARC1; p=none"}) == ("shop.example",) * 2
    both = {"_dmarc.b.shop.example": "v=DMARC1; p=none", "_dmarc.shop.example": "v=DMARC1; p=none"}
    assert organisation("a.b.shop.example", both) == ("shop.example",) * 2
    of_suffix = {"_dmarc.co.example": "v=DMARC1; p=none; psd=y"}
    assert organisation("a.shop.co.example", of_suffix) == ("shop.co.example", "co.example")
    own = {"_dmarc.eu.shop.example": "v=DMARC1; p=none; psd=n", "_dmarc.shop.example": "v=DMARC1; p=reject"}
    assert organisation("a.eu.shop.example", own) == ("eu.shop.example",) * 2
    assert organisation("a.shop.example", {}) == ("a.shop.example", "")
    # Eight questions at most: the first, and then seven labels and fewer.
    names = list(dmarc._way_up("1.2.3.4.5.6.7.8.9.shop.example"))
    assert (len(names), names[1], names[-1]) == (8, "5.6.7.8.9.shop.example", "example")


def test_mail_that_cannot_be_aligned_is_a_problem() -> None:
    record = {AT: "v=DMARC1; p=reject; rua=mailto:d@shop.example"}
    esp = (Selector("s1", "esp.example"),)
    (found,) = of_dmarc(record, envelope="bounce.esp.example", selectors=esp)
    assert (found.check, found.result) == (Check.DMARC, PROBLEM)
    assert "envelope senders are of bounce.esp.example, signatures of esp.example" in found.says
    assert found.publish[0].startswith("s1._domainkey.shop.example. IN TXT")
    assert of_dmarc(record, envelope="bounce.esp.example", selectors=(*esp, SELECTOR))[0].result is OK
    assert of_dmarc(record, envelope="bounce.shop.example")[0].result is OK
    assert of_dmarc(record, envelope="bounce.esp.example")[0].result is UNCHECKED
    strict = {AT: "v=DMARC1; p=reject; aspf=s; adkim=s; rua=mailto:d@shop.example"}
    below = (Selector("s1", "mail.shop.example"),)
    assert of_dmarc(strict, envelope="bounce.shop.example", selectors=below)[0].result is PROBLEM
    assert of_dmarc(record, envelope="bounce.esp.example", selectors=below)[0].result is OK


def test_somebody_else_must_agree_to_the_reports() -> None:
    record = {AT: "v=DMARC1; p=reject; rua=mailto:us@shop.example,mailto:them@reports.example"}
    (found, _) = of_dmarc(record)
    assert found.result is ADVICE
    assert found.publish == ('shop.example._report._dmarc.reports.example. IN TXT "v=DMARC1"',)
    assert len(of_dmarc({**record, "shop.example._report._dmarc.reports.example TXT": "v=DMARC1;"})) == 1


def test_a_failing_name_server_is_no_dmarc_finding() -> None:
    assert results(of_dmarc({AT: Reply(trouble="SERVFAIL")})) == [(Check.DMARC, UNCHECKED)]
    above = {AT: "v=DMARC1; p=reject; rua=mailto:d@shop.example", "_dmarc.example TXT": Reply(trouble="SERVFAIL")}
    assert results(of_dmarc(above)) == [(Check.DMARC, OK)]
    assert results(of_dmarc(above, envelope="b.other.example", selectors=(Selector("s", "c.other.example"),)))[0] == (
        Check.DMARC,
        UNCHECKED,
    )


# --- PTR and HELO ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ip", "pointer", "rdtype", "wrong"),
    [
        ("192.0.2.10", "10.2.0.192.in-addr.arpa", "A", "192.0.2.99"),
        ("2001:db8::10", "0.1.0.0" + ".0" * 20 + ".8.b.d.0.1.0.0.2.ip6.arpa", "AAAA", "2001:db8::99"),
    ],
)
def test_ptr_missing_not_confirmed_and_confirmed(ip: str, pointer: str, rdtype: str, wrong: str) -> None:
    def look(records: Mapping[str, str | list[str] | Reply]) -> list[Finding]:
        def plan() -> Asking[list[Finding]]:
            return list((yield from reverse.audit_reverse(ip, suggested="mail.shop.example")).findings)

        return run(plan(), records)

    both = [Check.PTR, Check.FORWARD_CONFIRMED]
    missing = look({})
    assert results(missing) == [(check, PROBLEM) for check in both]
    assert missing[0].publish == (f"{pointer}. IN PTR mail.shop.example.", f"mail.shop.example. IN {rdtype} {ip}")
    name = {f"{pointer} PTR": "MX1.Shop.example."}
    (found, unconfirmed) = look({**name, f"mx1.shop.example {rdtype}": wrong})
    assert (found.result, unconfirmed.result) == (OK, PROBLEM)
    assert unconfirmed.says == f"mx1.shop.example does not lead back to {ip}."
    assert unconfirmed.publish == (f"mx1.shop.example. IN {rdtype} {ip}",)
    assert unconfirmed.seen[-1] == f"mx1.shop.example. IN {rdtype} {wrong}"
    assert [entry.result for entry in look({**name, f"mx1.shop.example {rdtype}": [wrong, ip]})] == [OK, OK]
    assert [entry.result for entry in look({f"{pointer} PTR": Reply(trouble="SERVFAIL")})] == [UNCHECKED] * 2
    failing = {**name, f"mx1.shop.example {rdtype}": Reply(trouble="SERVFAIL")}
    assert [entry.result for entry in look(failing)] == [OK, UNCHECKED]


@pytest.mark.parametrize("name", ["192-0-2-10.isp.example", "host.10.2.0.192.isp.example", "c1.dyn.isp.example"])
def test_a_name_like_a_customers_line_is_advised_against(name: str) -> None:
    def plan() -> Asking[list[Finding]]:
        return list((yield from reverse.audit_reverse("192.0.2.10", suggested="mail.shop.example")).findings)

    found = run(plan(), {"10.2.0.192.in-addr.arpa PTR": f"{name}.", f"{name} A": "192.0.2.10"})
    assert [entry.result for entry in found] == [OK, ADVICE, OK]


def test_the_helo_name_leads_to_the_ip() -> None:
    def look(name: str, address: str | Reply = "192.0.2.10") -> Finding:
        (found,) = run(reverse.audit_helo("192.0.2.10", [name], ["mx1.shop.example"]), {f"{name} A": address})
        return found

    assert look("mx1.shop.example").result is OK
    assert look("mx2.shop.example").result is ADVICE
    wrong = look("mx1.shop.example", "192.0.2.11")
    assert (wrong.result, wrong.publish) == (PROBLEM, ("mx1.shop.example. IN A 192.0.2.10",))
    assert look("localhost").result is PROBLEM
    assert look("mx1.shop.example", Reply(trouble="timeout")).result is UNCHECKED
    assert results(run(reverse.audit_helo("192.0.2.10", [], []), {})) == [(Check.HELO, UNCHECKED)]


# --- MX, MTA-STS, TLS-RPT --------------------------------------------------------------------------------------------


def test_where_mail_goes() -> None:
    def look(records: Mapping[str, str | list[str] | Reply]) -> tuple[Result, tuple[str, ...], bool]:
        found: list[transport.Mx] = []

        def plan() -> Asking[list[Finding]]:
            found.append((yield from transport.audit_mx(DOMAIN)))
            return list(found[0].findings)

        (finding,) = run(plan(), records)
        return finding.result, found[0].hosts, found[0].takes_mail

    two = {"shop.example MX": ["20 b.shop.example.", "5 A.shop.example."], "b.shop.example AAAA": "2001:db8::1"}
    assert look(two) == (OK, ("a.shop.example", "b.shop.example"), True)
    assert look({"shop.example A": "192.0.2.1"}) == (OK, ("shop.example",), True)
    assert look({"shop.example MX": "0 ."}) == (PROBLEM, (), False)
    assert look({"shop.example MX": "10 gone.example."}) == (PROBLEM, ("gone.example",), False)
    assert look({}) == (PROBLEM, (), False)
    assert look({"shop.example MX": Reply(trouble="REFUSED")}) == (UNCHECKED, (), True)


POLICY = "version: STSv1\r\nmode: enforce\r\nmx: *.shop.example\r\nmx: mx.other.example\r\nmax_age: 86400\r\n"


@pytest.mark.parametrize(
    ("body", "hosts", "result"),
    [
        (POLICY, ["a.shop.example", "mx.other.example"], OK),
        (POLICY.replace("\r\n", "\n").replace("enforce", "testing"), ["a.shop.example"], ADVICE),
        (POLICY, ["a.b.shop.example"], PROBLEM),
        (POLICY, ["shop.example"], PROBLEM),
        (POLICY.replace("STSv1", "STSv2"), ["a.shop.example"], PROBLEM),
        (POLICY.replace("enforce", "strict"), ["a.shop.example"], PROBLEM),
        (POLICY.replace("86400", "99999999"), ["a.shop.example"], PROBLEM),
        ("version: STSv1\nmode: enforce\nmax_age: 1\n", ["a.shop.example"], PROBLEM),
        ("<html>", ["a.shop.example"], PROBLEM),
    ],
)
def test_a_policy_is_judged_with_the_hosts_that_there_are(body: str, hosts: list[str], result: Result) -> None:
    (found,) = transport.judge_policy(DOMAIN, "v=STSv1; id=1", transport.Fetched(body), hosts)
    assert (found.check, found.result) == (Check.MTA_STS, result)
    if result is PROBLEM:
        assert [f"mx: {host}" for host in hosts] == [line for line in found.publish if line.startswith("mx:")]


def test_a_policy_that_nobody_could_fetch_is_no_finding() -> None:
    judge_policy = transport.judge_policy
    assert judge_policy(DOMAIN, "", transport.Fetched(trouble="timeout"), [])[0].result is UNCHECKED
    assert judge_policy(DOMAIN, "", transport.Fetched(problem="It answered 404."), [])[0].result is PROBLEM


def test_the_record_of_mta_sts_and_of_tls_rpt() -> None:
    def sts(value: str | list[str] | Reply | None) -> Finding | None:
        table = {} if value is None else {"_mta-sts.shop.example TXT": value}
        found: list[Finding | None] = []

        def plan() -> Asking[list[Finding]]:
            found.append((yield from transport.sts_record(DOMAIN))[1])
            return []

        run(plan(), table)
        return found[0]

    missing = sts(None)
    assert missing is not None
    assert (missing.result, missing.publish) == (PROBLEM, ('_mta-sts.shop.example. IN TXT "v=STSv1; id=1"',))
    assert sts("v=STSv1; id=20261120;") is None
    for wrong in ("v=STSv1; id=", ["v=STSv1; id=1", "v=STSv1; id=2"], "v=STSv1; id=a-b"):
        assert (told := sts(wrong)) is not None
        assert told.result is PROBLEM
    assert (told := sts(Reply(trouble="SERVFAIL"))) is not None
    assert told.result is UNCHECKED
    name = "_smtp._tls.shop.example TXT"
    assert run(transport.audit_tls_rpt(DOMAIN), {name: "v=TLSRPTv1; rua=mailto:t@shop.example"})[0].result is OK
    assert run(transport.audit_tls_rpt(DOMAIN), {name: "v=TLSRPTv1; rua=t@shop.example"})[0].result is ADVICE
    (none,) = run(transport.audit_tls_rpt(DOMAIN), {})
    assert none.publish == ('_smtp._tls.shop.example. IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@shop.example"',)


# --- the probe, the score, the diagnosis -----------------------------------------------------------------------------


def test_what_mx_hosts_said_is_judged() -> None:
    def results_of(*probes: Probed) -> list[tuple[Check, Result]]:
        return results(judge(DOMAIN, probes, now=NOON))

    taken = {"postmaster": (250, "ok"), "abuse": (250, "ok")}
    fine = Probed("a.shop.example", starttls=True, certificate_ends=NOON + timedelta(days=60), replies=taken)
    roles = (Check.POSTMASTER, Check.ABUSE)
    assert results_of(fine) == [(Check.TLS, OK), *((check, OK) for check in roles)]
    plain = Probed("b.shop.example", replies={"postmaster": (550, "no"), "abuse": (451, "later")})
    assert results_of(plain) == [(Check.TLS, PROBLEM), (Check.POSTMASTER, PROBLEM), (Check.ABUSE, UNCHECKED)]
    assert results_of(plain, fine)[2:] == [(check, OK) for check in roles]
    ending = Probed("a.shop.example", starttls=True, certificate_ends=NOON + timedelta(days=9), replies=taken)
    assert results_of(ending)[0] == (Check.TLS, ADVICE)
    broken = Probed("a.shop.example", starttls=True, tls_problem="certificate has expired", replies=taken)
    assert results_of(broken)[0] == (Check.TLS, PROBLEM)
    away = [(check, UNCHECKED) for check in (Check.TLS, *roles)]
    assert results_of(Probed("a.shop.example", trouble="timeout")) == results(not_probed(DOMAIN, "off")) == away


def test_the_score_is_100_less_the_points_of_what_failed_once_each() -> None:
    def found(check: Check, result: Result = PROBLEM) -> Finding:
        return Finding(check=check, result=result, about=DOMAIN, says="")

    points = {"spf": 20, "dkim": 20, "dmarc": 15, "ptr": 10, "forward_confirmed": 10, "tls": 10, "mta_sts": 5}
    assert points | {"postmaster": 5, "abuse": 5} == {check.value: worth for check, worth in POINTS.items()}
    assert score(found(check, result) for check in Check for result in (OK, ADVICE, UNCHECKED)) == 100
    assert score([]) is score(found(check, UNCHECKED) for check in Check) is score([found(Check.MX)]) is None
    assert score([found(Check.SPF), found(Check.SPF), found(Check.MX), found(Check.ABUSE)]) == 75
    assert score(found(check) for check in Check) == 0
    shuffled = [found(Check.ABUSE), found(Check.SPF, OK), found(Check.SPF), found(Check.DMARC, ADVICE)]
    assert results(in_order(shuffled)) == [
        (Check.SPF, PROBLEM),
        (Check.ABUSE, PROBLEM),
        (Check.DMARC, ADVICE),
        (Check.SPF, OK),
    ]
    assert [Finding.from_json(entry.as_json()) for entry in shuffled] == shuffled


def test_long_texts_become_strings_that_dns_can_carry() -> None:
    line = txt("a.example", "x" * 300)
    assert line == f'a.example. IN TXT "{"x" * 255}" "{"x" * 45}"'


def test_dns_is_the_diagnosis_where_it_explains_most_refusals() -> None:
    spf = Finding(check=Check.SPF, result=PROBLEM, about=DOMAIN, says="no record")
    ptr = Finding(check=Check.PTR, result=PROBLEM, about="192.0.2.10", says="no PTR")
    refusals = {"authentication": 30, "reputation": 12, "unknown_user": 500}
    told = diagnose(refusals, [ptr, spf])
    assert told is not None
    assert (told.title, told.evidence) == ("DNS, not reputation", (spf,))
    assert told.says.startswith("Of 42 refusals about the sender in the last 24 hours 30 for authentication")
    too = diagnose({**refusals, "reputation": 31}, [spf])
    assert too is not None
    assert too.title == "DNS too"
    assert diagnose({"reputation": 42}, [spf, ptr]) is None
    assert diagnose({"infrastructure": 3}, [spf]) is None
    assert diagnose(refusals, [Finding(check=Check.SPF, result=OK, about=DOMAIN, says="")]) is None


# --- what others publish may be anything -----------------------------------------------------------------------------

HOSTILE = st.one_of(
    st.text(max_size=80),
    st.from_regex(
        r"v=spf1( [+\-~?]?(a|mx|ptr|include:|exists:|ip4:|redirect=)[%{}a-z0-9./:]{0,12}){0,4}", fullmatch=True
    ),
    st.from_regex(r"v=DMARC1;( ?(p|sp|rua|pct|adkim|psd)=[a-z:@.!,0-9]{0,20};){0,4}", fullmatch=True),
    st.from_regex(r"v=DKIM1;( ?(k|p|t|h|s)=[A-Za-z0-9+/=:]{0,24};){0,4}", fullmatch=True),
    st.from_regex(r"v=(STSv1|TLSRPTv1);( ?(id|rua)=[a-z:@.]{0,12};){0,2}", fullmatch=True),
)


@given(record=HOSTILE, again=HOSTILE)
def test_no_record_breaks_an_audit_or_its_report(record: str, again: str) -> None:
    class Everywhere(dict[tuple[str, str], Reply]):
        """Every name has these records."""

        def get(self, key: Any, default: Any = None) -> Any:
            name, rdtype = key
            if rdtype == "TXT":
                return Reply((record,) if len(name) % 2 else (record, again))
            return Reply({"A": ("192.0.2.1",), "AAAA": ("2001:db8::1",), "MX": ("10 mx.a.example.",)}.get(rdtype, ()))

    def plan() -> Asking[list[Finding]]:
        found = yield from spf_findings.audit_spf(DOMAIN, ["192.0.2.10", "2001:db8::10"])
        found += yield from dkim.audit_dkim(DOMAIN, [SELECTOR, Selector("s22", "esp.example")])
        found += yield from dmarc.audit_dmarc(DOMAIN, "b.esp.example", [Selector("s", "esp.example")])
        found += yield from transport.audit_tls_rpt(DOMAIN)
        wrong = (yield from transport.sts_record(DOMAIN))[1]
        return [*found, *([wrong] if wrong else [])]

    found = [
        *answered(plan(), Everywhere()),
        *transport.judge_policy(DOMAIN, record, transport.Fetched(again), ["a.b"]),
    ]
    stored = json.dumps([entry.as_json() for entry in found])
    assert "\\u0000" not in stored
    assert 0 <= (score(found) or 0) <= 100
    for line in (line for entry in found for line in entry.publish if " IN TXT " in line):
        name, _, value = line.partition(". IN TXT ")
        assert dns.rdata.from_text("IN", "TXT", value), name
