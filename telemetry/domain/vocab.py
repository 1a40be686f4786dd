"""The words of this floor: event types, kinds of source, counter levels."""

from enum import StrEnum

# The sending IP of an event whose source could not tell it (Stalwart without configured source IPs, an unmapped
# syslog name). A real address would be wrong and NULL cannot be part of a counter's key.
UNKNOWN_IP = "0.0.0.0"  # noqa: S104 - never bound, only stored


class EventType(StrEnum):
    """What happened to one delivery attempt to one recipient, or was reported of it later."""

    DELIVERY = "delivery"
    BOUNCE = "bounce"
    """Refused for good (5xx)."""
    DEFER = "defer"
    """Refused for now (4xx) or not reached; the server tries again."""
    COMPLAINT = "complaint"

    @property
    def is_failure(self) -> bool:
        """True for every type but a delivery."""
        return self is not EventType.DELIVERY

    @property
    def is_final(self) -> bool:
        """True when the message's fate for this recipient is decided by this event."""
        return self in (EventType.DELIVERY, EventType.BOUNCE)


class SourceKind(StrEnum):
    """Which software a source's events come from; names the parser and the URL it posts to."""

    DOCUMENTED = "documented"
    GENERIC = "generic"
    STALWART = "stalwart"
    KUMOMTA = "kumomta"
    POSTFIX = "postfix"
    POWERMTA = "powermta"
    ESP = "esp"
    REPORT_MAIL = "report_mail"
    SELF_TEST = "self_test"


class VolumeReporting(StrEnum):
    """Whether a source's events are the whole traffic, so that a ratio over them means something."""

    AUTO = "auto"
    """Known once the source has reported a delivery from that IP within the last 24 hours."""
    COMPLETE = "complete"
    """The source reports every delivery, whether or not one came lately."""
    FAILURES_ONLY = "failures_only"
    """The source reports failures; a delivery seen by chance proves nothing."""

    def is_whole_traffic(self, *, delivered: bool) -> bool:
        """Whether a source's events of a sender are all its traffic, given whether it reported a delivery lately."""
        return self is VolumeReporting.COMPLETE or (self is VolumeReporting.AUTO and delivered)


class RecipientPrivacy(StrEnum):
    """How much of a recipient's address is kept."""

    FULL = "full"
    HASHED = "hashed"
    DOMAIN = "domain"
