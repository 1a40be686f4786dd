"""URLs of this floor's API, below /api/."""

from django.urls import path

from reputation.api import acts, audit, breaker_policies, breakers, domains, fleet, ips, permits, policies, testing

urlpatterns = [
    path("ips", ips.Ips.as_view(), name="ips"),
    path("ips/<str:ip>/reputation", ips.Reputation.as_view(), name="ip-reputation"),
    path("ips/<str:ip>/failures", ips.Failures.as_view(), name="ip-failures"),
    path("ips/<str:ip>/history", ips.History.as_view(), name="ip-history"),
    path("ips/<str:ip>/actions", ips.Actions.as_view(), name="ip-actions"),
    path("ips/<str:ip>/quarantine", acts.Quarantine.as_view(), name="ip-quarantine"),
    path("ips/<str:ip>/release", acts.Release.as_view(), name="ip-release"),
    path("ips/<str:ip>/override", acts.SetOverride.as_view(), name="ip-override"),
    path("ips/<str:ip>/lift", acts.Lift.as_view(), name="ip-lift"),
    path("ips/<str:ip>/score", acts.ScoreNow.as_view(), name="ip-score"),
    path("ips/<str:ip>/dnsbl-check", acts.DnsblCheck.as_view(), name="ip-dnsbl-check"),
    path("dashboard/ip-health", fleet.IpHealth.as_view(), name="ip-health"),
    path("domains", domains.Domains.as_view(), name="domains"),
    path("domains/<str:domain>", domains.DomainByName.as_view(), name="domain"),
    path("domains/<str:domain>/history", domains.DomainHistory.as_view(), name="domain-history"),
    path("policies", policies.Policies.as_view(), name="policies"),
    path("policies/<int:pk>", policies.PolicyById.as_view(), name="policy"),
    path("policies/<int:pk>/revisions", policies.PolicyRevisions.as_view(), name="policy-revisions"),
    path("breakers", breakers.Breakers.as_view(), name="breakers"),
    path("breakers/open", breakers.OpenBreaker.as_view(), name="breaker-open"),
    path("breakers/check", breakers.CheckBreakers.as_view(), name="breakers-check"),
    path("breakers/<int:pk>", breakers.BreakerById.as_view(), name="breaker"),
    path("breakers/<int:pk>/events", breakers.BreakerEvents.as_view(), name="breaker-events"),
    path("breakers/<int:pk>/close", breakers.CloseBreaker.as_view(), name="breaker-close"),
    path("breaker-policies", breaker_policies.BreakerPolicies.as_view(), name="breaker-policies"),
    path("breaker-policies/<int:pk>", breaker_policies.BreakerPolicyById.as_view(), name="breaker-policy"),
    path(
        "breaker-policies/<int:pk>/revisions",
        breaker_policies.BreakerPolicyRevisions.as_view(),
        name="breaker-policy-revisions",
    ),
    path("permits", permits.Permits.as_view(), name="permits"),
    path("permits/log", permits.PermitLog.as_view(), name="permits-log"),
    path("audit-log", audit.AuditLog.as_view(), name="audit-log"),
    path("testing/simulate-failures", testing.SimulateFailures.as_view(), name="simulate-failures"),
    path("testing/test-cases", testing.TestCases.as_view(), name="test-cases"),
    path("testing/test-cases/<int:pk>/run", testing.RunTestCase.as_view(), name="run-test-case"),
    path("testing/test-suite/run", testing.RunTestSuite.as_view(), name="run-test-suite"),
]
