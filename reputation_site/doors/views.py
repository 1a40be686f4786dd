"""The login, the code after it, and the page on which one sets up one's second factor."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST
from django_otp import login as otp_login
from unfold.widgets import UnfoldAdminTextInputWidget

from dashboard.views import show_page
from reputation_site.doors import second_factor as factor
from reputation_site.doors.gate import SINGLE_SIGN_ON, Missing, waiting
from reputation_site.doors.records import note
from telemetry.domain.access import AccessKind

_KEY = "second_factor_key"
_NEXT = "next"


class CodeForm(forms.Form):
    """The field for a code of the app, or for a recovery code."""

    code = forms.CharField(
        label="Code",
        max_length=40,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "autofocus": True, "required": True}),
        help_text="The six digits that your authenticator app shows, or one of your recovery codes.",
    )


@never_cache
def login(request: HttpRequest) -> HttpResponseBase:
    """The admin's login; who has given the password already goes on to what is missing."""
    before = waiting(request)
    if before and request.method == "GET":
        page = "doors:code" if before[1] is Missing.CODE else "doors:second-factor"
        return redirect(f"{reverse(page)}?{urlencode({_NEXT: request.GET.get(_NEXT, '')})}")
    response: HttpResponseBase = admin.site.login(request, {"single_sign_on": _single_sign_on(request)})
    return response


def stale_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """What Django calls when a form's token does not fit."""
    context = {**admin.site.each_context(request), "title": "Nothing was done"}
    return render(request, "doors/stale_form.html", context, status=403)


def _single_sign_on(request: HttpRequest) -> dict[str, str] | None:
    if not settings.OIDC_ISSUER:
        return None
    query = urlencode({_NEXT: _where_next(request)})
    return {"name": settings.OIDC_NAME, "url": f"{reverse('doors:oidc-begin')}?{query}"}


@never_cache
@sensitive_post_parameters("code")
def code(request: HttpRequest) -> HttpResponseBase:
    """The second step of the login: the code."""
    before = waiting(request)
    if before is None or before[1] is not Missing.CODE:
        return redirect(_where_next(request))
    user = before[0]
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        checked = factor.check(user, form.cleaned_data["code"], now=timezone.now())
        if checked.device is not None:
            request.user = user
            request.session.cycle_key()
            otp_login(request, checked.device)
            _say_few_codes(request, user)
            return redirect(_where_next(request))
        _say_wrong(request, user, form, checked)
    context = {**admin.site.each_context(request), "title": "Second factor", "form": form, "who": user}
    status = 200 if request.method == "GET" else 400
    return render(request, "doors/code.html", {**context, "next": _where_next(request)}, status=status)


def _say_few_codes(request: HttpRequest, user: User) -> None:
    left = factor.recovery_codes_left(user)
    if left < 3:
        messages.warning(request, f"You have {left} recovery codes left. Make new ones under “Second factor”.")


def _say_wrong(request: HttpRequest, user: User, form: CodeForm, checked: factor.Checked) -> None:
    if checked.wait_seconds:
        form.add_error("code", f"Too many wrong codes: wait {checked.wait_seconds} seconds and try again.")
        return
    note(AccessKind.SECOND_FACTOR_FAILED, user, request)
    form.add_error("code", "This code is not right, or was used already. Wait for the next one.")


@never_cache
@require_GET
def second_factor(request: HttpRequest) -> HttpResponseBase:
    """What one's second factor is, or how to get one."""
    user = _person(request)
    if user is None:
        return _to_login(request)
    return _show(request, user, CodeForm())


@never_cache
@require_POST
@sensitive_post_parameters("code")
def confirm(request: HttpRequest) -> HttpResponseBase:
    """Keep the shown secret as second factor when the code fits, and show the recovery codes."""
    user = _person(request)
    if user is None:
        return _to_login(request)
    form = CodeForm(request.POST)
    key = request.session.get(_KEY)
    if factor.device_of(user) or not key:
        return redirect("doors:second-factor")
    made = factor.set_up(user, key, form.data.get("code", ""), now=timezone.now())
    if made is None:
        form.add_error("code", "This code is not right. Is the clock of your phone right? Try the next one.")
        return _show(request, user, form, status=400)
    device, codes = made
    del request.session[_KEY]
    request.session.cycle_key()
    request.user = user
    otp_login(request, device)
    note(AccessKind.SECOND_FACTOR_ADDED, user, request)
    return _show(request, user, CodeForm(), recovery_codes=codes)


@never_cache
@require_POST
@sensitive_post_parameters("code")
def change(request: HttpRequest, act: str) -> HttpResponseBase:
    """Remove the second factor, or make new recovery codes; both want a code."""
    user = _person(request)
    if user is None:
        return _to_login(request)
    form = CodeForm(request.POST)
    if not factor.device_of(user) or not form.is_valid():
        return redirect("doors:second-factor")
    checked = factor.check(user, form.cleaned_data["code"], now=timezone.now())
    if checked.device is None:
        _say_wrong(request, user, form, checked)
        return _show(request, user, form, status=400)
    if act == "recovery-codes":
        note(AccessKind.SECOND_FACTOR_ADDED, user, request, "new recovery codes")
        return _show(request, user, CodeForm(), recovery_codes=factor.renew_recovery_codes(user))
    factor.remove(user)
    note(AccessKind.SECOND_FACTOR_REMOVED, user, request, "by the person")
    messages.success(request, "Your second factor is removed: your password alone opens your account.")
    return redirect("doors:second-factor")


def _show(
    request: HttpRequest, user: User, form: CodeForm, *, recovery_codes: list[str] | None = None, status: int = 200
) -> HttpResponse:
    request.user = user
    device = factor.device_of(user)
    form.fields["code"].widget.attrs.pop("autofocus", None)
    context: dict[str, Any] = {
        "device": device,
        "form": form,
        "required": settings.REQUIRE_SECOND_FACTOR,
        "single_sign_on": request.session.get(BACKEND_SESSION_KEY) in SINGLE_SIGN_ON,
        "recovery_codes": recovery_codes,
        "left": factor.recovery_codes_left(user) if device else 0,
        "now": timezone.now(),
    }
    if device is None:
        form.fields["code"].help_text = "Six digits, which change every half minute."
        key = request.session.setdefault(_KEY, factor.new_key())
        context |= {"key": factor.key_in_words(key), "qr_code": factor.qr_code(user, key)}
    return show_page(request, "doors/second_factor.html", "Second factor", context, status=status)


def _person(request: HttpRequest) -> User | None:
    """Who may see the page: staff that is in, and who waits to set a second factor up."""
    before = waiting(request)
    if before:
        return before[0] if before[1] is Missing.SET_UP else None
    user = request.user
    return user if isinstance(user, User) and user.is_active and user.is_staff else None


def _to_login(request: HttpRequest) -> HttpResponse:
    return redirect_to_login(request.get_full_path(), reverse("admin:login"))


def _where_next(request: HttpRequest) -> str:
    wanted = request.POST.get(_NEXT) or request.GET.get(_NEXT) or ""
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe and wanted else str(settings.LOGIN_REDIRECT_URL)
