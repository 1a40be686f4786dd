"""What happened: sources and their tokens, events, counters, retention."""

from telemetry.models.access import AccessRecord
from telemetry.models.causes import CauseRule, MailboxProvider, RuleSet
from telemetry.models.completeness import CompletenessReading, MetricsWatch
from telemetry.models.counters import (
    ChangedSender,
    RefusalDay,
    RefusalHour,
    RefusalMinute,
    RollupMark,
    TrafficDay,
    TrafficHour,
    TrafficMinute,
)
from telemetry.models.events import MessageState, Receipt, RejectedEvent, SendingEvent, VolumeReport
from telemetry.models.following import FollowedFile, PostfixQueueEntry
from telemetry.models.housekeeping import Lease, RetentionPolicy
from telemetry.models.reports import UnknownReport
from telemetry.models.sources import ApiToken, Source, SourceToken
from telemetry.models.stalwart import StalwartConnect, StalwartHeld, UnusedEventType

__all__ = [
    "AccessRecord",
    "ApiToken",
    "CauseRule",
    "ChangedSender",
    "CompletenessReading",
    "FollowedFile",
    "Lease",
    "MailboxProvider",
    "MessageState",
    "MetricsWatch",
    "PostfixQueueEntry",
    "Receipt",
    "RefusalDay",
    "RefusalHour",
    "RefusalMinute",
    "RejectedEvent",
    "RetentionPolicy",
    "RollupMark",
    "RuleSet",
    "SendingEvent",
    "Source",
    "SourceToken",
    "StalwartConnect",
    "StalwartHeld",
    "TrafficDay",
    "TrafficHour",
    "TrafficMinute",
    "UnknownReport",
    "UnusedEventType",
    "VolumeReport",
]
