"""What happened: sources and their tokens, events, counters, retention."""

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
from telemetry.models.sources import ApiToken, Source, SourceToken

__all__ = [
    "ApiToken",
    "ChangedSender",
    "FollowedFile",
    "Lease",
    "MessageState",
    "PostfixQueueEntry",
    "Receipt",
    "RefusalDay",
    "RefusalHour",
    "RefusalMinute",
    "RejectedEvent",
    "RetentionPolicy",
    "RollupMark",
    "SendingEvent",
    "Source",
    "SourceToken",
    "TrafficDay",
    "TrafficHour",
    "TrafficMinute",
    "VolumeReport",
]
