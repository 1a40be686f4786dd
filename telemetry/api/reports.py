"""Where complaints and bounces that came as mails are handed in."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from telemetry import limits, reports
from telemetry.api.webhooks import PROBLEMS, SourceView
from telemetry.metrics import INGEST_SECONDS
from telemetry.parsers.report_mail import Kind

TYPES = ("message/rfc822", "text/plain", "application/octet-stream")


class TakenSerializer(serializers.Serializer[reports.Taken]):
    """What became of the mail."""

    status = serializers.ChoiceField(
        choices=[outcome.value for outcome in reports.Outcome],
        source="outcome",
        help_text="recorded; duplicate: taken before; ignored: a report of nothing that counts; kept: no report.",
    )
    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    recorded = serializers.IntegerField(help_text="New events.")
    duplicates = serializers.IntegerField(help_text="Events known before.")
    why = serializers.CharField(help_text="Why it was ignored or kept; empty otherwise.")


class ReportMessage(SourceView):
    """One mail as it came (RFC 5322): a complaint in ARF, a bounce as a delivery status notification.

    Every mail is answered 200, one that is no report too: whoever hands it in need not look at the answer. The same
    report handed in again counts once.
    """

    @extend_schema(
        tags=["ingest"],
        request={media_type: {"type": "string", "format": "binary", "minLength": 1} for media_type in TYPES},
        responses={200: TakenSerializer, **PROBLEMS},
        summary="Hand in a complaint or bounce that came as a mail",
    )
    def post(self, request: Request) -> Response:
        """Take one mail."""
        with INGEST_SECONDS.time():
            media_type = (request.content_type or "").partition(";")[0].strip().lower()
            if media_type not in TYPES:
                raise exceptions.UnsupportedMediaType(
                    media_type or "none", detail=f"Send {' or '.join(TYPES)}, not {media_type or 'nothing'}."
                )
            body = self.body_of(request)
            limits.spend(self.source_of(request), events=1)
            taken = reports.take_in(self.source_of(request), body, now=timezone.now())
            return Response(TakenSerializer(taken).data)
