"""URLs of the doors."""

from django.urls import path

from reputation_site.doors import views

app_name = "doors"
urlpatterns = [
    path("", views.second_factor, name="second-factor"),
    path("code", views.code, name="code"),
    path("confirm", views.confirm, name="confirm"),
    path("recovery-codes", views.change, {"act": "recovery-codes"}, name="recovery-codes"),
    path("remove", views.change, {"act": "remove"}, name="remove"),
]
