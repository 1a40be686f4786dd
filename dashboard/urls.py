"""URLs of the pages."""

from django.urls import path

from dashboard import scenario_views as scenarios
from dashboard import search_views as search
from dashboard import source_views as sources
from dashboard import views

app_name = "dashboard"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("overview/fleet", views.overview_fleet, name="overview-fleet"),
    path("overview/day", views.overview_day, name="overview-day"),
    path("ips/<str:ip>/", views.ip, name="ip"),
    path("domains/<str:domain>/", views.domain, name="domain"),
    path("scenarios/", scenarios.scenario_list, name="scenarios"),
    path("scenarios/run", scenarios.run_all, name="scenarios-run"),
    path("scenarios/<int:number>/run", scenarios.run_one, name="scenario-run"),
    path("search/", search.search, name="search"),
    path("pools/<int:pk>/", views.pool, name="pool"),
    path("blocklists/", views.blocklists, name="blocklists"),
    path("sources/", sources.source_list, name="sources"),
    path("sources/<str:name>/", sources.source, name="source"),
    path("sources/<str:name>/live", sources.source_live, name="source-live"),
    path("sources/<str:name>/test", sources.source_test, name="source-test"),
]
