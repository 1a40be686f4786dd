"""Pools: which sending IPs they hold, who of them takes how much now, and which domains leave by them."""

from __future__ import annotations

from typing import Any

from django.db.models import Count
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from reputation.api.permits import PermitRuleField, SendingModeField
from reputation.api.serializers import StatusField
from reputation.domain.sending_policy import Mode
from reputation.models import Pool, PoolDomain, SendingIP, SendingPolicy
from reputation.pool_acts import set_domain_pool, unset_domain_pool
from reputation.pools import pool_now
from telemetry import mailbox_providers
from telemetry.api.common import (
    ApiView,
    Body,
    Query,
    body_of,
    documented,
    domain_in_path,
    page_of,
    person,
    query_of,
)
from telemetry.domain.vocab import UNKNOWN_IP
from telemetry.pagination import Pages

TAG = "pools and limits"


class PoolNameField(serializers.CharField):
    """A pool by its name."""

    def to_internal_value(self, data: Any) -> Any:
        """The pool. Raises ValidationError where there is none."""
        name = super().to_internal_value(data)
        pool = Pool.objects.filter(name=name).first()
        if pool is None:
            raise serializers.ValidationError(f"There is no pool {name[:100]!r}.")
        return pool


class PoolSerializer(serializers.ModelSerializer[Pool]):
    """A group of sending IPs."""

    mode = SendingModeField(help_text="Of its own sending policy, or of the default pool's.")
    has_own_policy = serializers.BooleanField(help_text="False: it goes by the default pool's sending policy.")
    sending_ips = serializers.IntegerField(help_text="How many; IPs in no pool are the default pool's.")
    sending_domains = serializers.IntegerField(help_text="How many leave by it because somebody said so.")

    class Meta:
        model = Pool
        fields = ["id", "name", "description", "is_default", "mode", "has_own_policy", "sending_ips", "sending_domains"]


class MemberSerializer(serializers.Serializer[Any]):
    """A sending IP of a pool, and how much it takes now."""

    ip = serializers.IPAddressField()
    weight = serializers.IntegerField()
    is_backup = serializers.BooleanField()
    transport = serializers.CharField(allow_blank=True)
    status = StatusField()
    share = serializers.FloatField(help_text="Of the pool's mail by the rules, 0 to 1.")
    share_by_weight = serializers.FloatField(
        help_text="By weight alone: what the Postfix socketmap goes by unless the pool enforces."
    )
    is_out = serializers.BooleanField(help_text="Whether it gets nothing by the rules.")
    rule = PermitRuleField(allow_null=True, help_text="What takes it out; null where no rule does.")
    why = serializers.CharField(allow_blank=True, help_text="Why it is out, or has less than its weight's share.")
    until = serializers.DateTimeField(allow_null=True, help_text="When it may be back, as far as that is known.")
    at_providers = serializers.ListField(
        child=serializers.CharField(), help_text="What holds it back at single mailbox providers only."
    )


class PoolNowSerializer(PoolSerializer):
    """A pool with who of it takes how much."""

    as_of = serializers.DateTimeField(help_text="What permits know is as of then.")
    provider = serializers.CharField(allow_blank=True, help_text="At which mailbox provider; empty: in general.")
    members = MemberSerializer(many=True)

    class Meta(PoolSerializer.Meta):
        fields = [*PoolSerializer.Meta.fields, "as_of", "provider", "members"]


class PoolNowQuery(Query):
    """At which provider."""

    provider = serializers.CharField(required=False, default="", help_text="A mailbox provider's id.")

    def validate_provider(self, value: str) -> str:
        """A typo must not look like a healthy pool."""
        if value and value not in mailbox_providers.directory().titles:
            raise serializers.ValidationError(f"There is no mailbox provider {value!r}.")
        return value


class Pools(ApiView):
    """All pools."""

    @documented(TAG, "pools_list", "List pools", answers={200: PoolSerializer}, pages=Pages)
    def get(self, request: Request) -> Response:
        """Pools by name."""
        rows = Pool.objects.select_related("sending_policy").order_by("name")
        return page_of(request, rows, PoolSerializer, prepare=_with_counts)


class PoolById(ApiView):
    """One pool."""

    @documented(
        TAG,
        "pools_retrieve",
        "Show a pool and who of it takes how much now",
        answers={200: PoolNowSerializer},
        query=PoolNowQuery,
        problems=[404, 503],
    )
    def get(self, request: Request, pk: int) -> Response:
        """The shares by which permits and the Postfix socketmap choose, and why an IP is out."""
        provider = query_of(request, PoolNowQuery)["provider"]
        (row,) = _with_counts([get_object_or_404(Pool.objects.select_related("sending_policy"), pk=pk)])
        current = pool_now(row, now=timezone.now(), provider=provider)
        told = {"as_of": current.at, "provider": provider, "members": current.members}
        for name, value in told.items():
            setattr(row, name, value)
        return Response(PoolNowSerializer(row).data)


class PoolDomainSerializer(serializers.ModelSerializer[PoolDomain]):
    """A sending domain whose mail leaves by a pool other than the default one."""

    pool = serializers.CharField(source="pool.name")

    class Meta:
        model = PoolDomain
        fields = ["domain", "pool"]


class PoolDomainBody(Body):
    """By which pool, and why."""

    pool = PoolNameField()
    reason = serializers.CharField(required=False, default="", max_length=500, help_text="Kept in the audit log.")


class PoolDomainQuery(Query):
    """Filters of the list."""

    pool = PoolNameField(required=False)


class PoolDomains(ApiView):
    """Which domains leave by which pool."""

    @documented(
        TAG,
        "pool_domains_list",
        "List the sending domains of pools",
        answers={200: PoolDomainSerializer},
        query=PoolDomainQuery,
        pages=Pages,
    )
    def get(self, request: Request) -> Response:
        """Domains by name. One that is not here leaves by the default pool."""
        rows = PoolDomain.objects.select_related("pool").order_by("domain")
        return page_of(request, rows.filter(**query_of(request, PoolDomainQuery)), PoolDomainSerializer)


class PoolDomainByName(ApiView):
    """The pool of one domain."""

    write_permission = "reputation.change_pooldomain"

    @documented(
        TAG,
        "pool_domains_set",
        "Let a sending domain leave by a pool",
        answers={200: PoolDomainSerializer, 201: PoolDomainSerializer},
        body=PoolDomainBody,
    )
    def put(self, request: Request, domain: str) -> Response:
        """Set its pool, whatever it was; audited."""
        name, body = domain_in_path(domain), body_of(request, PoolDomainBody)
        row, is_new = set_domain_pool(name, body["pool"], user=person(request), reason=body["reason"])
        return Response(
            PoolDomainSerializer(row).data, status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        )

    @documented(
        TAG,
        "pool_domains_unset",
        "Let a sending domain leave by the default pool",
        answers={204: None},
        problems=[400, 404],
    )
    def delete(self, request: Request, domain: str) -> Response:
        """Forget its pool; audited."""
        row = get_object_or_404(PoolDomain.objects.select_related("pool"), pk=domain_in_path(domain))
        unset_domain_pool(row, user=person(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _with_counts(pools: list[Pool]) -> list[Pool]:
    """Add what the list shows of each pool; a fixed number of queries."""
    default = SendingPolicy.objects.filter(pool__is_default=True).values_list("mode", flat=True).first()
    ips = _counts(SendingIP.objects.exclude(ip=UNKNOWN_IP))
    domains = _counts(PoolDomain.objects.all())
    for pool in pools:
        has_own = hasattr(pool, "sending_policy")
        told = {
            "mode": pool.sending_policy.mode if has_own else default or Mode.OBSERVE.value,
            "has_own_policy": has_own,
            "sending_ips": ips.get(pool.pk, 0) + (ips.get(None, 0) if pool.is_default else 0),
            "sending_domains": domains.get(pool.pk, 0),
        }
        for name, value in told.items():
            setattr(pool, name, value)
    return pools


def _counts(rows: Any) -> dict[int | None, int]:
    return dict(rows.order_by().values_list("pool").annotate(Count("pk")))
