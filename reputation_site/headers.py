"""Headers that tell browsers what a page of ours may do: the Content-Security-Policy and the Permissions-Policy."""

from __future__ import annotations

from csp.constants import NONE, SELF, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest, HttpResponseBase

# No inline script, no eval, nothing from another host: the expressions in the frame's attributes are read by
# static/dashboard/expressions.js instead of being compiled.
POLICY = {
    "default-src": [SELF],
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF, "data:"],
    "font-src": [SELF],
    "connect-src": [SELF],
    "object-src": [NONE],
    "frame-src": [NONE],
    "worker-src": [NONE],
    "base-uri": [NONE],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
}
# The admin's lists set a width by a style attribute; it can move things, not run anything.
ADMIN_ALSO = {"style-src-attr": [UNSAFE_INLINE]}
# Swagger's page brings its own style element.
API_DOCS_ALSO = {"style-src": [UNSAFE_INLINE]}
_NOT_NEEDED = (
    "accelerometer camera display-capture geolocation gyroscope magnetometer microphone midi payment"
    " publickey-credentials-get screen-wake-lock usb xr-spatial-tracking"
)
PERMISSIONS = ", ".join(f"{name}=()" for name in _NOT_NEEDED.split())


class Headers(CSPMiddleware):
    """Adds both headers; the admin's pages get the one exception they need."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """The policy of this answer."""
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and request.path_info.startswith("/admin/"):
            parts.update = {**ADMIN_ALSO, **(parts.update or {})}
        return parts

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Every answer carries them, errors too."""
        response.setdefault("Permissions-Policy", PERMISSIONS)
        return super().process_response(request, response)
