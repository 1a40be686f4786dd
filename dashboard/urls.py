"""URLs of the pages."""

from django.urls import path

from dashboard import sender_views as senders
from dashboard import source_views as sources
from dashboard import views

app_name = "dashboard"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("overview/fleet", views.overview_fleet, name="overview-fleet"),
    path("overview/day", views.overview_day, name="overview-day"),
    path("ips/<str:name>/", senders.sender, {"kind": "ip"}, name="ip"),
    path("ips/<str:name>/acts/<slug:act>", senders.act, {"kind": "ip"}, name="ip-act"),
    path("ips/<str:name>/<slug:table>/", senders.table, {"kind": "ip"}, name="ip-table"),
    path("domains/<str:name>/", senders.sender, {"kind": "domain"}, name="domain"),
    path("domains/<str:name>/acts/<slug:act>", senders.act, {"kind": "domain"}, name="domain-act"),
    path("domains/<str:name>/<slug:table>/", senders.table, {"kind": "domain"}, name="domain-table"),
    path("changes/<int:pk>/judgement", senders.judge, name="judge"),
    path("pools/<int:pk>/", views.pool, name="pool"),
    path("blocklists/", views.blocklists, name="blocklists"),
    path("sources/", sources.source_list, name="sources"),
    path("sources/<str:name>/", sources.source, name="source"),
    path("sources/<str:name>/live", sources.source_live, name="source-live"),
    path("sources/<str:name>/test", sources.source_test, name="source-test"),
]
