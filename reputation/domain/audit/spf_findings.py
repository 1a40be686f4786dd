"""What is wrong with a domain's SPF, and the record to publish instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

from reputation.domain.audit.asking import Asking, Question
from reputation.domain.audit.findings import Check, Finding, Result, txt, unchecked
from reputation.domain.audit.spf import MOST_LOOKUPS, MOST_VOIDS, Evaluation, Verdict, check_host
from reputation.domain.audit.spf_record import VERSION, Mechanism, Record, SpfError, allow, parse, with_ips

# Mail from a reserved address (RFC 1112 section 4) matches nothing that was meant, so its evaluation passes every term.
STRANGER: Final = "240.0.0.1"
_WHY: Final = "Receivers ask the envelope sender's domain which IPs may send for it (RFC 7208); Gmail, Yahoo and "
_REFUSE: Final = _WHY + "Outlook.com refuse or file as spam what does not pass."
_PERMANENT: Final = "An SPF record that cannot be evaluated is a permanent error (RFC 7208 section {}): {}."


def audit_spf(domain: str, ips: Sequence[str]) -> Asking[list[Finding]]:
    """Read the domain's record and evaluate it for each of its sending IPs, and for a stranger."""
    survey = yield from check_host(STRANGER, domain, survey=True)
    own = survey.records.get(domain)
    if own is None:
        return [unchecked(Check.SPF, domain, survey.why)]
    if len(own) != 1:
        return [_none(domain, ips) if not own else _several(domain, own)]
    try:
        record = parse(own[0])
    except SpfError as error:
        return [_unreadable(domain, own[0], error)]
    found = list(_of_structure(domain, record, survey))
    if survey.lookups > MOST_LOOKUPS and not survey.loop:
        shorter = yield from _shorter(domain, record, survey)
        found.insert(0, _too_many_lookups(domain, record, survey, shorter))
    by_verdict: dict[Verdict, list[str]] = {}
    evaluated: dict[str, Evaluation] = {}
    for ip in ips:
        evaluated[ip] = yield from check_host(ip, domain)
        by_verdict.setdefault(evaluated[ip].verdict, []).append(ip)
    found += _of_ips(domain, record, by_verdict, evaluated)
    broken = any(finding.result is Result.PROBLEM for finding in found)
    for ip in by_verdict.get(Verdict.PERMERROR, ()):
        if not broken:
            found.append(_permanent(domain, record, f"for {ip}: {evaluated[ip].why}"))
            broken = True
    if not found or (not ips and all(finding.result is Result.ADVICE for finding in found)):
        found.append(_ok(domain, record, f"The record is sound ({survey.lookups} of {MOST_LOOKUPS} lookups)."))
    return found


# --- the record ------------------------------------------------------------------------------------------------------


def _none(domain: str, ips: Sequence[str]) -> Finding:
    terms = " ".join(allow(ip_address(ip)) for ip in ips) or "mx"
    return Finding(
        check=Check.SPF,
        result=Result.PROBLEM,
        about=domain,
        says=f"{domain} has no SPF record.",
        why=_REFUSE,
        publish=(txt(domain, f"{VERSION} {terms} ~all"),),
    )


def _several(domain: str, own: Sequence[str]) -> Finding:
    return Finding(
        check=Check.SPF,
        result=Result.PROBLEM,
        about=domain,
        says=f"{domain} has {len(own)} SPF records; there must be one. Publish this one and delete the others.",
        seen=tuple(own),
        why=_PERMANENT.format("4.5", "no IP passes, whatever the records say"),
        publish=(txt(domain, _merged(own)),),
    )


def _merged(own: Sequence[str]) -> str:
    """The terms of all, each once, with the end of the first that has one. A redirect becomes an include."""
    terms: dict[str, None] = {}
    end = ""
    for text in own:
        for word in text.split()[1:]:
            if word.lower().lstrip("+-~?") == "all":
                end = end or word
            elif word.lower().startswith("redirect="):
                terms.setdefault("include:" + word.partition("=")[2])
            elif not word.lower().startswith("exp="):
                terms.setdefault(word)
    return " ".join([VERSION, *terms, end or "~all"])


def _unreadable(domain: str, text: str, error: SpfError) -> Finding:
    kept = [word for word in text.split()[1:] if _reads(word)]
    return Finding(
        check=Check.SPF,
        result=Result.PROBLEM,
        about=domain,
        says=f"The SPF record cannot be read: {error}. Below it is without what cannot be read; mend or drop that.",
        seen=(text,),
        why=_PERMANENT.format("4.6", "one bad term spoils the whole record"),
        publish=(txt(domain, " ".join([VERSION, *dict.fromkeys(kept)])),),
    )


def _reads(word: str) -> bool:
    try:
        parse(f"{VERSION} {word}")
    except SpfError:
        return False
    return True


def _of_structure(domain: str, record: Record, survey: Evaluation) -> Iterator[Finding]:
    """What the walk of a stranger showed."""
    if survey.loop:
        yield _loop(domain, record, survey.loop)
    elif survey.verdict is Verdict.PERMERROR and survey.lookups <= MOST_LOOKUPS:
        yield _permanent(domain, record, survey.why)
    elif survey.verdict is Verdict.TEMPERROR:
        yield unchecked(Check.SPF, domain, survey.why)
    if len(survey.voids) > MOST_VOIDS:
        yield Finding(
            check=Check.SPF,
            result=Result.PROBLEM,
            about=domain,
            says=f"{len(survey.voids)} terms ask for names that have no answer: {', '.join(survey.voids)}.",
            seen=(record.text,),
            why=f"More than {MOST_VOIDS} such void lookups are a permanent error (RFC 7208 section 4.6.4).",
            publish=(txt(domain, _without(record.text, survey.voids)),),
        )
    end = record.all
    if survey.verdict is Verdict.PASS:
        mended = _without(record.text, [end.text]) + " ~all" if end and end.qualifier == "+" else ""
        yield Finding(
            check=Check.SPF,
            result=Result.PROBLEM,
            about=domain,
            says=f"The record lets everybody send: {survey.why}.",
            seen=(record.text,),
            why="Spammers use such domains, and receivers take the record for none (RFC 7208 section 5.1).",
            publish=(txt(domain, mended),) if mended else (),
        )
    if any(entry.name == "ptr" for entry in record.mechanisms):
        used = [entry.text for entry in record.mechanisms if entry.name == "ptr"]
        yield Finding(
            check=Check.SPF,
            result=Result.ADVICE,
            about=domain,
            says="The record uses ptr.",
            seen=(record.text,),
            why="It is slow and unreliable, should not be used, and some receivers skip it (RFC 7208 section 5.5).",
            publish=(txt(domain, _without(record.text, used)),),
        )
    if (end is None and not record.redirect) or (end is not None and end.qualifier == "?"):
        mended = _without(record.text, [end.text] if end else []) + " ~all"
        yield Finding(
            check=Check.SPF,
            result=Result.ADVICE,
            about=domain,
            says="The record says nothing about IPs that it does not name: it ends without ~all or -all.",
            seen=(record.text,),
            why="Without an end nobody is told that other IPs do not send for the domain (RFC 7208 section 4.7).",
            publish=(txt(domain, mended),),
        )


def _loop(domain: str, record: Record, loop: tuple[str, ...]) -> Finding:
    after = loop[1] if loop[0] == domain else ""
    leads = [
        word
        for word in record.text.split()
        if after and word.lower().lstrip("+-~?").rstrip(".") in (f"include:{after}", f"redirect={after}")
    ]
    return Finding(
        check=Check.SPF,
        result=Result.PROBLEM,
        about=domain,
        says=f"The record includes itself: {' → '.join(loop)}.",
        seen=(record.text,),
        why=_PERMANENT.format("4.6.4", f"the circle uses up the {MOST_LOOKUPS} lookups"),
        publish=(txt(domain, _without(record.text, leads)),) if leads else (),
    )


def _permanent(domain: str, record: Record, why: str) -> Finding:
    dead = [entry.text for entry in record.mechanisms if entry.name == "include" and why.startswith(f"{entry.text}:")]
    return Finding(
        check=Check.SPF,
        result=Result.PROBLEM,
        about=domain,
        says=f"Evaluating the record fails: {why}.",
        seen=(record.text,),
        why=_PERMANENT.format("2.6.7", "receivers treat the mail as if it failed"),
        publish=(txt(domain, _without(record.text, dead)),) if dead else (),
    )


def _without(text: str, terms: Sequence[str]) -> str:
    return " ".join(word for word in text.split() if word not in terms)


# --- lookups ---------------------------------------------------------------------------------------------------------


def _too_many_lookups(domain: str, record: Record, survey: Evaluation, shorter: str) -> Finding:
    costs = ", ".join(f"{term} {count}" for term, count in survey.costs.items())
    says = f"Evaluating the record takes {survey.lookups} DNS lookups, and {MOST_LOOKUPS} are allowed: {costs}."
    hint = "" if shorter else " Remove what no longer sends, or move a service to a subdomain of its own."
    return Finding(
        check=Check.SPF,
        result=Result.PROBLEM,
        about=domain,
        says=says + hint,
        seen=(record.text,),
        why=_PERMANENT.format("4.6.4", "IPs that only the later terms name never pass"),
        publish=(txt(domain, shorter),) if shorter else (),
    )


def _shorter(domain: str, record: Record, survey: Evaluation) -> Asking[str]:
    """The record with a and mx replaced by the addresses behind them now, and without ptr; empty where that is no help.

    Includes stay: whoever runs them changes their addresses.
    """
    saved, words = 0, []
    by_text = {entry.text: entry for entry in record.mechanisms}
    for word in record.text.split():
        entry = by_text.get(word)
        if entry is None or entry.name not in ("a", "mx", "ptr") or "%" in entry.target:
            words.append(word)
            continue
        if entry.name == "ptr":
            saved += 1
            continue
        addresses = yield from _addresses(entry.target or domain, entry.name)
        if addresses is None:
            words.append(word)
            continue
        sign = entry.qualifier if entry.qualifier != "+" else ""
        words += [sign + _named(address, entry) for address in addresses]
        saved += 1
    return " ".join(dict.fromkeys(words)) if survey.lookups - saved <= MOST_LOOKUPS else ""


def _addresses(name: str, kind: str) -> Asking[list[str] | None]:
    """The addresses behind a or mx of that name; None where a question was not answered."""
    hosts = [name]
    if kind == "mx":
        reply = yield Question(name, "MX")
        if reply.trouble:
            return None
        hosts = [text.split()[-1] for text in reply.names]
    found: list[str] = []
    for host in hosts:
        for rdtype in ("A", "AAAA"):
            reply = yield Question(host, rdtype)
            if reply.trouble:
                return None
            found += reply.records
    return found


def _named(address: str, entry: Mechanism) -> str:
    ip = ip_address(address)
    prefix = entry.prefix4 if ip.version == 4 else entry.prefix6
    network = ip_network(f"{address}/{prefix}", strict=False)
    return f"ip{ip.version}:{network}" if prefix < ip.max_prefixlen else allow(ip)


# --- its sending IPs -------------------------------------------------------------------------------------------------


def _of_ips(
    domain: str, record: Record, by_verdict: dict[Verdict, list[str]], evaluated: dict[str, Evaluation]
) -> Iterator[Finding]:
    for verdict in (Verdict.FAIL, Verdict.SOFTFAIL, Verdict.NEUTRAL):
        if missing := by_verdict.get(verdict):
            every = [
                ip for kind in (Verdict.FAIL, Verdict.SOFTFAIL, Verdict.NEUTRAL) for ip in by_verdict.get(kind, ())
            ]
            yield Finding(
                check=Check.SPF,
                result=Result.PROBLEM,
                about=domain,
                says=f"The record does not authorise {', '.join(missing)}, from where the domain sends: {verdict}.",
                seen=(record.text,),
                why=_REFUSE,
                publish=(txt(domain, with_ips(record.text, [ip_address(ip) for ip in every])),),
            )
    for ip in by_verdict.get(Verdict.TEMPERROR, ()):
        yield unchecked(Check.SPF, f"{domain} from {ip}", evaluated[ip].why)
    if passed := by_verdict.get(Verdict.PASS):
        ways = "; ".join(f"{ip} by {evaluated[ip].why}" for ip in passed)
        yield _ok(domain, record, f"Authorised: {ways}.")


def _ok(domain: str, record: Record, says: str) -> Finding:
    return Finding(check=Check.SPF, result=Result.OK, about=domain, says=says, seen=(record.text,))
