"""SPF as RFC 7208 has it: the grammar, the limits, and what the audit says to publish."""

from __future__ import annotations

import pytest

from reputation.domain.audit.asking import Reply, answered
from reputation.domain.audit.findings import Check, Finding, Result
from reputation.domain.audit.spf import Evaluation, Verdict, check_host
from reputation.domain.audit.spf_findings import audit_spf
from reputation.domain.audit.spf_record import SpfError, parse

DOMAIN = "shop.example"
IP = "192.0.2.10"
IP6 = "2001:db8::10"
Zone = dict[tuple[str, str], Reply]


def txt(records: dict[str, str | list[str]], **others: list[str]) -> Zone:
    found = {(name, "TXT"): Reply(tuple([text] if isinstance(text, str) else text)) for name, text in records.items()}
    for key, values in others.items():
        rdtype, _, name = key.partition("_")
        found[name.replace("__", "-").replace("_", "."), rdtype] = Reply(tuple(values))
    return found


def evaluate(records: Zone, ip: str = IP, **options: bool) -> Evaluation:
    return answered(check_host(ip, DOMAIN, **options), records)


def audit(records: Zone, *ips: str) -> list[Finding]:
    return answered(audit_spf(DOMAIN, ips), records)


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1",
        "v=spf1  a   mx -all",
        "V=SPF1 A:Host.Example/24 MX//64 ?all",
        "v=spf1 a/24//64 mx:x.example/0 ip4:192.0.2.0/0 ip6:2001:db8::/32 -all",
        "v=spf1 exists:%{ir}.%{v}._spf.%{d2} include:_%{d}.x.example -all",
        "v=spf1 redirect=_spf.x.example exp=why.%{d}",
        "v=spf1 custom=%{c}.%% include:%{d} ~all",
        "v=spf1 a:xn--bcher-kva.example. -all",
    ],
)
def test_what_the_grammar_allows_is_read(text: str) -> None:
    assert parse(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 ip4:192.0.2.300 -all",
        "v=spf1 ip4:192.0.2.0/33 -all",
        "v=spf1 ip4:192.0.2.0/024 -all",
        "v=spf1 ip4 -all",
        "v=spf1 ip6:192.0.2.1 -all",
        "v=spf1 ipv4:192.0.2.1 -all",
        "v=spf1 a:/24 -all",
        "v=spf1 a/33 -all",
        "v=spf1 mx//129 -all",
        "v=spf1 include -all",
        "v=spf1 include: -all",
        "v=spf1 include:localhost -all",
        "v=spf1 a:x.123 -all",
        "v=spf1 all:x.example",
        "v=spf1 exists:%{x}.x.example -all",
        "v=spf1 exists:%{d0}.x.example -all",
        "v=spf1 include:%d.x.example -all",
        "v=spf1 include:%{t}.x.example -all",
        "v=spf1 redirect=a.example redirect=b.example",
        "v=spf1 ++all",
        "v=spf1 a:x.example,y.example -all extra",
        "v=spf1 büro.example",
    ],
)
def test_what_it_does_not_allow_is_a_permanent_error(text: str) -> None:
    with pytest.raises(SpfError):
        parse(text)
    assert evaluate(txt({DOMAIN: text})).verdict is Verdict.PERMERROR


@pytest.mark.parametrize(
    ("record", "ip", "verdict"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", IP, Verdict.PASS),
        ("v=spf1 ip4:192.0.2.0/24 -all", IP6, Verdict.FAIL),
        ("v=spf1 ip6:2001:db8::/64 ~all", IP6, Verdict.PASS),
        ("v=spf1 ip6:2001:db8::/64 ~all", IP, Verdict.SOFTFAIL),
        ("v=spf1 -ip4:192.0.2.10 +all", IP, Verdict.FAIL),
        ("v=spf1 ?all", IP, Verdict.NEUTRAL),
        ("v=spf1", IP, Verdict.NEUTRAL),
        ("v=spf1 a -all", IP, Verdict.PASS),
        ("v=spf1 a -all", IP6, Verdict.FAIL),
        ("v=spf1 a:host.example/28 -all", IP, Verdict.PASS),
        ("v=spf1 mx -all", IP, Verdict.PASS),
        ("v=spf1 mx//48 -all", IP6, Verdict.PASS),
        ("v=spf1 ptr -all", IP, Verdict.PASS),
        ("v=spf1 ptr:other.example -all", IP, Verdict.FAIL),
        ("v=spf1 exists:%{ir}.%{v}.list.example -all", IP, Verdict.PASS),
        ("v=spf1 exists:%{ir}.%{v}.list.example -all", IP6, Verdict.FAIL),
        ("v=spf1 include:fails.example ip4:192.0.2.10 -all", IP, Verdict.PASS),
        ("v=spf1 include:passes.example -all", IP, Verdict.PASS),
        ("v=spf1 include:nobody.example -all", IP, Verdict.PERMERROR),
        ("v=spf1 redirect=fails.example", IP, Verdict.FAIL),
        ("v=spf1 ~all redirect=passes.example", IP, Verdict.SOFTFAIL),
        ("v=spf1 redirect=nobody.example", IP, Verdict.PERMERROR),
        ("v=spf1 include:away.example ip4:192.0.2.10", IP, Verdict.TEMPERROR),
    ],
)
def test_a_receiver_would_decide(record: str, ip: str, verdict: Verdict) -> None:
    records = txt(
        {DOMAIN: record, "fails.example": "v=spf1 -all", "passes.example": "v=spf1 ip4:192.0.2.10 -all"},
        A_shop_example=[IP],
        A_host_example=["192.0.2.1"],
        MX_shop_example=["10 MX.shop.example."],
        A_mx_shop_example=[IP],
        AAAA_mx_shop_example=["2001:db8::1"],
        A_10_2_0_192_in__addr_list_example=["127.0.0.2"],
    )
    records["10.2.0.192.in-addr.arpa", "PTR"] = Reply(("mail.Shop.example.",))
    records["mail.shop.example", "A"] = Reply((IP,))
    records["away.example", "TXT"] = Reply(trouble="SERVFAIL")
    records["nobody.example", "TXT"] = Reply(("something else",))
    assert evaluate(records, ip).verdict is verdict


def includes(count: int, end: str = "ip4:192.0.2.10 -all") -> dict[str, str]:
    inner = {f"i{number}.example": "v=spf1 ip4:198.51.100.1 -all" for number in range(count)}
    return {DOMAIN: "v=spf1 " + " ".join(f"include:{name}" for name in inner) + f" {end}", **inner}


def test_the_tenth_lookup_is_allowed_and_the_eleventh_is_not() -> None:
    assert evaluate(txt(includes(10))).verdict is Verdict.PASS
    assert evaluate(txt(includes(11))).verdict is Verdict.PERMERROR
    assert evaluate(txt(includes(11)), survey=True).lookups == 11


def test_the_third_void_lookup_is_a_permanent_error() -> None:
    def with_voids(count: int) -> Zone:
        return txt({DOMAIN: "v=spf1 " + " ".join(f"a:no{n}.example" for n in range(count)) + " ip4:192.0.2.10 -all"})

    assert evaluate(with_voids(2)).verdict is Verdict.PASS
    assert evaluate(with_voids(3)).verdict is Verdict.PERMERROR


def test_more_than_ten_mx_hosts_are_a_permanent_error() -> None:
    hosts = [f"10 mx{number}.shop.example." for number in range(11)]
    assert evaluate(txt({DOMAIN: "v=spf1 mx -all"}, MX_shop_example=hosts)).verdict is Verdict.PERMERROR


# --- what is said and what is to be published -----------------------------------------------------------------------


def test_the_own_record_is_given_back_with_the_missing_ips_in_it() -> None:
    record = "v=spf1 ip4:198.51.100.7 include:_spf.esp.example ~all"
    records = txt({DOMAIN: record, "_spf.esp.example": "v=spf1 ip4:203.0.113.0/24 -all"})
    (found,) = audit(records, IP, IP6)
    assert (found.check, found.result, found.seen) == (Check.SPF, Result.PROBLEM, (record,))
    assert found.says == f"The record does not authorise {IP}, {IP6}, from where the domain sends: softfail."
    assert found.publish == (
        f'shop.example. IN TXT "v=spf1 ip4:198.51.100.7 ip4:{IP} ip6:{IP6} include:_spf.esp.example ~all"',
    )
    mended = txt({DOMAIN: found.publish[0].split('"')[1], "_spf.esp.example": "v=spf1 ip4:203.0.113.0/24 -all"})
    assert [entry.result for entry in audit(mended, IP, IP6)] == [Result.OK]


def test_no_record_and_two_records() -> None:
    (none,) = audit(txt({DOMAIN: "google-site-verification=1"}), IP, IP6)
    assert none.says == "shop.example has no SPF record."
    assert none.publish == (f'shop.example. IN TXT "v=spf1 ip4:{IP} ip6:{IP6} ~all"',)
    own = ["v=spf1 a include:esp.example -all", "v=spf1 a redirect=_spf.other.example"]
    (two,) = audit(txt({DOMAIN: own}), IP)
    assert two.says.startswith("shop.example has 2 SPF records")
    assert two.seen == tuple(own)
    assert two.publish == ('shop.example. IN TXT "v=spf1 a include:esp.example include:_spf.other.example -all"',)


def test_eleven_lookups_are_shortened_where_that_is_honest() -> None:
    records = txt(includes(9, "a mx ip4:192.0.2.10 -all"), A_shop_example=["192.0.2.1"])
    records["shop.example", "MX"] = Reply(("10 mx.shop.example.",))
    records["mx.shop.example", "AAAA"] = Reply(("2001:db8::25",))
    many = audit(records, IP)[0]
    assert many.says.startswith("Evaluating the record takes 11 DNS lookups, and 10 are allowed: include:i0.example 1")
    assert "ip4:192.0.2.1 ip6:2001:db8::25 ip4:192.0.2.10 -all" in many.publish[0]
    (too_many, *_) = audit(txt(includes(11)), IP)
    assert too_many.publish == ()
    assert "move a service to a subdomain" in too_many.says


def test_a_record_that_includes_itself_is_said_to() -> None:
    records = txt(
        {DOMAIN: "v=spf1 include:a.example ip4:192.0.2.1 -all", "a.example": "v=spf1 include:shop.example ~all"}
    )
    (loop,) = audit(records, IP)
    assert loop.says == "The record includes itself: shop.example → a.example → shop.example."
    assert loop.publish == ('shop.example. IN TXT "v=spf1 ip4:192.0.2.1 -all"',)


def test_a_record_for_everybody_is_a_problem() -> None:
    (found, *others) = audit(txt({DOMAIN: "v=spf1 mx +all"}, MX_shop_example=["5 a.example."]), IP)
    assert (found.result, found.publish) == (Result.PROBLEM, ('shop.example. IN TXT "v=spf1 mx ~all"',))
    assert all(entry.result is not Result.PROBLEM for entry in others)


def test_a_bad_term_is_named_and_left_out() -> None:
    (found,) = audit(txt({DOMAIN: "v=spf1 ipv4:192.0.2.10 a -all"}), IP)
    assert found.says.startswith("The SPF record cannot be read: “ipv4:192.0.2.10” is no term of SPF.")
    assert found.publish == ('shop.example. IN TXT "v=spf1 a -all"',)


def test_an_include_without_a_record_is_named_and_left_out() -> None:
    (found,) = audit(txt({DOMAIN: "v=spf1 include:gone.example -all"}), IP)
    assert found.says == ("Evaluating the record fails: include:gone.example: gone.example has no SPF record.")
    assert found.publish == ('shop.example. IN TXT "v=spf1 -all"',)


def test_what_a_name_server_does_not_answer_is_no_finding() -> None:
    (own,) = audit({(DOMAIN, "TXT"): Reply(trouble="SERVFAIL")}, IP)
    assert own.result is Result.UNCHECKED
    records = txt({DOMAIN: "v=spf1 include:away.example -all"})
    records["away.example", "TXT"] = Reply(trouble="no answer in time")
    assert {found.result for found in audit(records, IP)} == {Result.UNCHECKED}
    assert "away.example TXT: no answer in time" in audit(records, IP)[0].says


def test_ptr_and_an_open_end_are_advice() -> None:
    found = audit(txt({DOMAIN: "v=spf1 ip4:192.0.2.10 ptr"}), IP)
    assert [entry.result for entry in found] == [Result.ADVICE, Result.ADVICE, Result.OK]
    assert found[0].publish == ('shop.example. IN TXT "v=spf1 ip4:192.0.2.10"',)
    assert found[1].publish == ('shop.example. IN TXT "v=spf1 ip4:192.0.2.10 ptr ~all"',)
