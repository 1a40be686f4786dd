"""The standing rule: every threshold at, just below and just above; unknown volume; what is mainly wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reputation.domain.decision import Decision, IssueType, Rule, Status, decide
from reputation.domain.policy import CodeTiers, MajorProviders, Policy, Tier
from telemetry.domain.window import IpWindow, Outcomes, RefusalCount

END = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PROVIDER = {"gmail.com": "google", "outlook.com": "microsoft_consumer", "hotmail.com": "microsoft_consumer"}
Refusals = tuple[tuple[str, str, int], ...]

GMAIL, OUTLOOK, HOTMAIL, LIVE = "gmail.com", "outlook.com", "hotmail.com", "live.com"


def window(sent: int | None, *refusals: tuple[str, str, int]) -> IpWindow:
    """A window in which nothing but these refusals went wrong; codes of class 4 are deferrals that still stand."""
    deferred = sum(count for code, _, count in refusals if code.startswith("4"))
    bounced = sum(count for _, _, count in refusals) - deferred
    return IpWindow(
        ip="203.0.113.99",
        start=END - timedelta(minutes=15),
        end=END,
        outcomes=Outcomes(delivered=max((sent or 0) - bounced - deferred, 0), bounced=bounced, deferred=deferred),
        total_sent=sent,
        refusals=tuple(
            RefusalCount(code, domain, PROVIDER.get(domain, "other"), "refused", count)
            for code, domain, count in refusals
        ),
    )


def judged(sent: int | None, *refusals: tuple[str, str, int], policy: Policy | None = None) -> Decision:
    return decide(window(sent, *refusals), policy or Policy(), CodeTiers(), MajorProviders())


@pytest.mark.parametrize(
    ("sent", "refusals", "rule"),
    [
        # Minimum volume 50: 49 messages say nothing, however bad.
        (49, (("5.7.1", GMAIL, 17), ("5.7.1", OUTLOOK, 16), ("5.7.1", "a.example", 16)), Rule.MINIMUM_VOLUME),
        (50, (("5.7.1", GMAIL, 17), ("5.7.1", OUTLOOK, 16), ("5.7.1", "a.example", 16)), Rule.BLACKLISTED),
        (51, (("5.7.1", GMAIL, 17), ("5.7.1", OUTLOOK, 16), ("5.7.1", "a.example", 16)), Rule.BLACKLISTED),
        (0, (), Rule.NO_MAIL),
        # Blacklisted: ratio above 5 %.
        (1000, (("5.7.1", GMAIL, 30), ("5.7.1", OUTLOOK, 10), ("5.7.1", "a.example", 9)), Rule.QUARANTINE_A),
        (1000, (("5.7.1", GMAIL, 30), ("5.7.1", OUTLOOK, 10), ("5.7.1", "a.example", 10)), Rule.QUARANTINE_A),
        (1000, (("5.7.1", GMAIL, 30), ("5.7.1", OUTLOOK, 10), ("5.7.1", "a.example", 11)), Rule.BLACKLISTED),
        # Blacklisted: three recipient domains, two major providers, some tier (a policy tier is enough).
        (1000, (("5.7.1", GMAIL, 50), ("5.7.1", OUTLOOK, 10)), Rule.QUARANTINE_A),
        (1000, (("5.7.1", GMAIL, 50), ("5.7.1", "a.example", 5), ("5.7.1", "b.example", 5)), Rule.QUARANTINE_A),
        (1000, (("5.5.0", GMAIL, 50), ("5.5.0", OUTLOOK, 10), ("5.5.0", "a.example", 1)), Rule.QUARANTINE_B),
        (1000, (("4.7.1", GMAIL, 4), ("5.5.0", OUTLOOK, 60), ("5.5.0", "a.example", 1)), Rule.QUARANTINE_B),
        (1000, (("4.7.1", GMAIL, 5), ("5.5.0", OUTLOOK, 60), ("5.5.0", "a.example", 1)), Rule.BLACKLISTED),
        # Quarantine A: ratio above 3 %, exactly; one major provider; a tier that can quarantine.
        (600, (("5.7.1", GMAIL, 17),), Rule.WARNING_RATIO),
        (600, (("5.7.1", GMAIL, 18),), Rule.WARNING_RATIO),
        (600, (("5.7.1", GMAIL, 19),), Rule.QUARANTINE_A),
        (600, (("5.7.1", "a.example", 19),), Rule.WARNING_RATIO),
        (600, (("5.7.1", GMAIL, 1), ("5.4.1", GMAIL, 20)), Rule.WARNING_RATIO),
        (600, (("5.7.1", GMAIL, 2), ("5.4.1", GMAIL, 20)), Rule.QUARANTINE_A),
        (600, (("5.7.23", GMAIL, 2), ("5.4.1", GMAIL, 20)), Rule.WARNING_RATIO),
        (600, (("5.7.23", GMAIL, 3), ("5.4.1", GMAIL, 20)), Rule.QUARANTINE_A),
        (600, (("5.1.8", GMAIL, 2), ("5.4.1", GMAIL, 20)), Rule.WARNING_RATIO),
        (600, (("5.1.8", GMAIL, 3), ("5.4.1", GMAIL, 20)), Rule.QUARANTINE_A),
        (600, (("4.7.0", GMAIL, 29),), Rule.WARNING_RATIO),
        # Counted per code: two codes of one tier do not add up.
        (600, (("5.7.23", GMAIL, 2), ("5.7.26", GMAIL, 2), ("5.4.1", GMAIL, 20)), Rule.WARNING_RATIO),
        # The same code adds up over domains.
        (600, (("5.7.23", GMAIL, 2), ("5.7.23", "a.example", 1), ("5.4.1", GMAIL, 20)), Rule.QUARANTINE_A),
        # Quarantine B: ratio above 5 %, two recipient domains, no code needed.
        (1000, (("5.1.1", "a.example", 49), ("5.1.1", "b.example", 1)), Rule.WARNING_RATIO),
        (1000, (("5.1.1", "a.example", 50), ("5.1.1", "b.example", 1)), Rule.QUARANTINE_B),
        (1000, (("5.1.1", "a.example", 51),), Rule.WARNING_RATIO),
        # Warning: ratio from 2 %.
        (1000, (("5.1.1", "a.example", 19),), Rule.HEALTHY),
        (1000, (("5.1.1", "a.example", 20),), Rule.WARNING_RATIO),
        (1000, (("5.1.1", "a.example", 21),), Rule.WARNING_RATIO),
        # Warning: more than ten temporary and at least one permanent.
        (1000, (("4.2.2", "a.example", 10), ("5.1.1", "a.example", 1)), Rule.HEALTHY),
        (1000, (("4.2.2", "a.example", 11), ("5.1.1", "a.example", 1)), Rule.WARNING_TEMPORARY),
        (1000, (("451", "a.example", 11), ("550", "a.example", 1)), Rule.WARNING_TEMPORARY),
        (1000, (("4.2.2", "a.example", 19),), Rule.HEALTHY),
        (1000, (("4.2.2", "a.example", 11), ("", "a.example", 1)), Rule.HEALTHY),
        # Warning: five of 5.7.1.
        (1000, (("5.7.1", "a.example", 4),), Rule.HEALTHY),
        (1000, (("5.7.1", "a.example", 5),), Rule.WARNING_REFUSED),
        (1000, (("5.7.1", "a.example", 4), ("5.7.10", "a.example", 2)), Rule.HEALTHY),
        (1000, (), Rule.HEALTHY),
    ],
)
def test_each_threshold_holds_exactly(sent: int, refusals: Refusals, rule: Rule) -> None:
    decision = judged(sent, *refusals)
    assert decision.rule is rule, decision.why
    assert decision.status.value == rule.value.split("_")[0] or decision.status is Status.HEALTHY


@pytest.mark.parametrize(
    ("refusals", "rule"),
    [
        ((("5.7.1", GMAIL, 1),), Rule.UNKNOWN_VOLUME_HEALTHY),
        ((("5.7.1", GMAIL, 2),), Rule.UNKNOWN_VOLUME_TIER),
        ((("5.7.1", GMAIL, 500), ("5.7.1", OUTLOOK, 500), ("5.7.1", "a.example", 500)), Rule.UNKNOWN_VOLUME_TIER),
        ((("4.7.1", GMAIL, 5),), Rule.UNKNOWN_VOLUME_TIER),
        ((("5.1.1", GMAIL, 500),), Rule.UNKNOWN_VOLUME_HEALTHY),
        ((("4.2.2", GMAIL, 10), ("5.1.1", GMAIL, 1)), Rule.UNKNOWN_VOLUME_HEALTHY),
        ((("4.2.2", GMAIL, 11), ("5.1.1", GMAIL, 1)), Rule.UNKNOWN_VOLUME_TEMPORARY),
        ((), Rule.UNKNOWN_VOLUME_HEALTHY),
    ],
)
def test_unknown_volume_warns_at_most_and_shows_no_ratio(refusals: Refusals, rule: Rule) -> None:
    decision = judged(None, *refusals)
    assert decision.rule is rule
    assert decision.status is (Status.HEALTHY if rule is Rule.UNKNOWN_VOLUME_HEALTHY else Status.WARNING)
    assert decision.ratio is None
    assert decision.total_sent is None
    assert "Volume unknown" in decision.why
    assert "%" not in decision.why


def test_without_tiers_unknown_volume_still_warns_at_five_of_571() -> None:
    lone = CodeTiers(tier_of={}, minimum={})
    rules = [decide(window(None, ("5.7.1", GMAIL, n)), Policy(), lone, MajorProviders()).rule for n in (4, 5)]
    assert rules == [Rule.UNKNOWN_VOLUME_HEALTHY, Rule.UNKNOWN_VOLUME_REFUSED]


def test_a_reported_volume_below_the_refusals_is_not_believed() -> None:
    believed = judged(60, ("5.7.1", GMAIL, 60))
    assert believed.ratio == 1
    doubted = judged(59, ("5.7.1", GMAIL, 60))
    assert (doubted.status, doubted.total_sent, doubted.ratio) == (Status.WARNING, None, None)
    assert "59 reported as sent, but 60 refused" in doubted.why
    assert judged(0, ("5.7.1", GMAIL, 1)).total_sent is None


def test_deferrals_that_no_longer_stand_are_not_rejections() -> None:
    patient = replace(
        window(100, ("4.2.0", GMAIL, 10)), outcomes=Outcomes(delivered=90, bounced=0, deferred=20, superseded=10)
    )
    decision = decide(patient, Policy(), CodeTiers(), MajorProviders())
    assert (decision.total_sent, decision.total_rejected, decision.ratio) == (100, 10, Fraction(1, 10))


def test_microsoft_domains_are_one_major_provider_only_when_the_policy_says_so() -> None:
    refusals = (("5.7.606", OUTLOOK, 10), ("5.7.606", HOTMAIL, 10), ("5.7.1", LIVE, 10))
    by_domain = judged(400, *refusals)
    assert (by_domain.status, by_domain.major_providers) == (Status.BLACKLISTED, (HOTMAIL, LIVE, OUTLOOK))
    by_provider = judged(400, *refusals, policy=Policy(count_major_by="provider"))
    assert (by_provider.status, by_provider.major_providers) == (Status.QUARANTINE, ("microsoft",))


def test_a_domain_hosted_at_a_major_provider_counts_only_by_provider() -> None:
    hosted = replace(
        window(600, ("5.7.1", "shop.example", 19)),
        refusals=(RefusalCount("5.7.1", "shop.example", "google", "refused", 19),),
    )
    status = {
        by: decide(hosted, Policy(count_major_by=by), CodeTiers(), MajorProviders()).status
        for by in ("domain", "provider")
    }
    assert status == {"domain": Status.WARNING, "provider": Status.QUARANTINE}


def test_refusals_without_a_recipient_domain_prove_no_further_domain() -> None:
    decision = judged(1000, ("5.1.1", "a.example", 40), ("5.1.1", "", 20))
    assert (decision.unique_recipient_domains, decision.rule) == (1, Rule.WARNING_RATIO)


@pytest.mark.parametrize(
    ("refusals", "issue"),
    [
        ((), IssueType.NONE),
        ((("5.7.512", GMAIL, 2),), IssueType.MIXED),
        ((("5.7.512", GMAIL, 3),), IssueType.CONTENT),
        ((("5.7.606", GMAIL, 3), ("5.7.1", GMAIL, 9)), IssueType.CONTENT),
        ((("5.7.606", GMAIL, 2), ("5.7.512", GMAIL, 2), ("5.7.1", GMAIL, 6)), IssueType.REPUTATION),
        ((("5.7.1", GMAIL, 5),), IssueType.MIXED),
        ((("5.7.1", GMAIL, 6), ("5.7.23", GMAIL, 9)), IssueType.REPUTATION),
        ((("5.7.23", GMAIL, 3), ("5.7.26", GMAIL, 2)), IssueType.MIXED),
        ((("5.7.23", GMAIL, 3), ("5.7.26", GMAIL, 3), ("5.7.25", GMAIL, 9)), IssueType.AUTHENTICATION),
        ((("5.7.25", GMAIL, 3), ("5.1.8", GMAIL, 2)), IssueType.MIXED),
        ((("5.7.25", GMAIL, 3), ("5.1.8", GMAIL, 3), ("4.7.1", GMAIL, 90)), IssueType.INFRASTRUCTURE),
        ((("5.7.510", GMAIL, 10),), IssueType.MIXED),
        ((("5.7.510", GMAIL, 11), ("5.1.1", GMAIL, 90)), IssueType.POLICY),
        ((("4.7.1", GMAIL, 10),), IssueType.RATE_LIMITING),
        ((("4.7.1", GMAIL, 11),), IssueType.POLICY),
        ((("5.1.1", GMAIL, 10),), IssueType.MIXED),
        ((("5.1.1", GMAIL, 11), ("4.2.2", GMAIL, 90)), IssueType.HYGIENE),
        ((("4.2.2", GMAIL, 3), ("5.1.1", GMAIL, 3)), IssueType.MIXED),
        ((("4.2.2", GMAIL, 4), ("5.1.1", GMAIL, 3)), IssueType.RATE_LIMITING),
    ],
)
def test_the_issue_is_the_first_that_matches(refusals: Refusals, issue: IssueType) -> None:
    assert judged(1000, *refusals).issue_type is issue


def test_the_reason_names_the_numbers() -> None:
    decision = judged(400, ("5.7.1", GMAIL, 7), ("5.7.1", OUTLOOK, 5), ("4.7.0", "yahoo.com", 3))
    assert decision.why == (
        "3.75 % of 400 sent were refused (15), at gmail.com, outlook.com and yahoo.com;"
        " 5.7.1 ×12 reached the primary tier (2)."
    )
    assert decision.counts_by_code == {"5.7.1": 12, "4.7.0": 3}
    assert (decision.temporary, decision.permanent, decision.tiers_reached) == (3, 12, (Tier.PRIMARY,))


def test_advice_follows_the_cause_and_the_provider() -> None:
    def advice(sent: int | None, *refusals: tuple[str, str, int]) -> str:
        return " ".join(judged(sent, *refusals).recommendations)

    assert "SPF, DKIM and DMARC" in advice(300, ("5.7.23", GMAIL, 15), ("5.7.1", OUTLOOK, 4))
    assert "PTR" in advice(200, ("5.7.25", GMAIL, 8), ("5.7.25", OUTLOOK, 4))
    assert "Wait" in advice(600, ("4.7.0", GMAIL, 16), ("5.7.1", "yahoo.com", 2))
    assert "SPF did not pass" in advice(200, ("5.7.27", GMAIL, 8))
    assert "null MX" in advice(200, ("5.7.27", "enterprise.example", 8))
    assert "report the volume" in advice(None, ("5.7.1", GMAIL, 8))
    assert advice(1000) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": timedelta(0)},
        {"warning_ratio_from": Decimal("2")},
        {"warning_ratio_from": Decimal("NaN")},
        {"minimum_volume": -1},
        {"count_major_by": "colour"},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        Policy(**wrong)  # type: ignore[arg-type]


CODES = (*CodeTiers().tier_of, "4.2.1", "5.5.0", "421", "550", "")
DOMAINS = (*MajorProviders().provider_of, "a.example", "b.example", "")
REFUSAL_LISTS = st.lists(st.tuples(st.sampled_from(CODES), st.sampled_from(DOMAINS), st.integers(1, 40)), max_size=8)
POLICIES = st.sampled_from([Policy(), Policy(count_major_by="provider"), Policy(minimum_volume=0)])


@given(REFUSAL_LISTS, REFUSAL_LISTS, st.integers(0, 2000), POLICIES)
def test_more_refusals_of_the_same_volume_never_improve_a_standing(
    refusals: list[tuple[str, str, int]], more: list[tuple[str, str, int]], spare: int, policy: Policy
) -> None:
    sent = sum(count for _, _, count in (*refusals, *more)) + spare
    for volume in (sent, None):
        before = judged(volume, *refusals, policy=policy)
        after = judged(volume, *refusals, *more, policy=policy)
        assert after.status.severity >= before.status.severity, (before.why, after.why)


@given(REFUSAL_LISTS, POLICIES)
def test_unknown_volume_never_passes_warning(refusals: list[tuple[str, str, int]], policy: Policy) -> None:
    assert judged(None, *refusals, policy=policy).status.severity <= Status.WARNING.severity


@given(REFUSAL_LISTS, st.one_of(st.none(), st.integers(0, 2000)), POLICIES)
def test_every_decision_gives_a_reason_and_every_alarm_advice(
    refusals: list[tuple[str, str, int]], sent: int | None, policy: Policy
) -> None:
    decision = judged(sent, *refusals, policy=policy)
    assert decision.why.endswith(".")
    assert decision.recommendations or decision.status is Status.HEALTHY
    assert decision.ratio is None or 0 <= decision.ratio <= 1


def test_greylisting_that_was_overcome_is_no_reason_to_warn() -> None:
    refused = (
        RefusalCount("4.7.1", "web.de", "united_internet", "refused", 40),
        RefusalCount("5.1.1", "web.de", "", "", 1),
    )
    start, end = datetime(2026, 11, 20, 11, 45, tzinfo=UTC), datetime(2026, 11, 20, 12, tzinfo=UTC)

    def judged(superseded: int) -> Status:
        outcomes = Outcomes(delivered=5_000, bounced=1, deferred=40, superseded=superseded)
        window = IpWindow("192.0.2.1", start, end, outcomes, outcomes.sent, refused)
        return decide(window, Policy(), CodeTiers(), MajorProviders()).status

    assert judged(superseded=0) is Status.WARNING
    assert judged(superseded=29) is Status.WARNING
    assert judged(superseded=30) is Status.HEALTHY
