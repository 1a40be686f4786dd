"""URLs of the pages."""

from django.urls import path

from dashboard import views

app_name = "dashboard"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("overview/fleet", views.overview_fleet, name="overview-fleet"),
    path("overview/day", views.overview_day, name="overview-day"),
    path("ips/<str:ip>/", views.ip, name="ip"),
    path("domains/<str:domain>/", views.domain, name="domain"),
]
