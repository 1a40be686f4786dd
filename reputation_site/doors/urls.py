"""URLs of the doors."""

from django.urls import path

from reputation_site.doors import oidc, views

app_name = "doors"
urlpatterns = [
    path("second-factor/", views.second_factor, name="second-factor"),
    path("second-factor/code", views.code, name="code"),
    path("second-factor/confirm", views.confirm, name="confirm"),
    path("second-factor/recovery-codes", views.change, {"act": "recovery-codes"}, name="recovery-codes"),
    path("second-factor/remove", views.change, {"act": "remove"}, name="remove"),
    path("login/oidc/", oidc.begin, name="oidc-begin"),
    path("login/oidc/callback", oidc.callback, name="oidc-callback"),
]
