"""Prometheus metrics of the blocklists; the gauge is read from the database at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import Metric

from telemetry.metric_state import gauge_of, offer

# A few dozen lists at most: operators add them by hand.
CHECKS = Counter("dnsbl_checks", "Looks at blocklists, by list and what they said.", ["blocklist", "result"])
ERRORS = Counter("dnsbl_errors", "Looks at blocklists that said nothing, by list and why.", ["blocklist", "error"])
SECONDS = Histogram(
    "dnsbl_check_seconds",
    "Duration of looks at blocklists that asked something.",
    ["blocklist"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15),
)
CHANGES = Counter("dnsbl_listing_changes", "Believed changes, by tier of the list and new state.", ["tier", "to"])
TIERS = ("A", "B", "C")


def listings() -> Iterator[Metric]:
    """How many IPs and domains are believed to be listed, by kind and tier of the list; allow lists do not count."""
    from reputation.blocklist_queries import counts

    labels = {"kind": ("ip", "domain"), "tier": TIERS}
    yield gauge_of("dnsbl_listings", "IPs and domains on blocklists.", labels, counts())


def register() -> None:
    """Offer the gauge."""
    offer(listings)
