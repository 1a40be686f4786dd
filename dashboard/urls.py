"""URLs of the pages."""

from django.urls import path

from dashboard import alert_views as alerts
from dashboard import detail_files, files, views
from dashboard import fleet_acts as acts
from dashboard import fleet_views as fleet
from dashboard import scenario_views as scenarios
from dashboard import search_views as search
from dashboard import sender_views as senders
from dashboard import source_views as sources

app_name = "dashboard"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("overview/fleet", views.overview_fleet, name="overview-fleet"),
    path("overview/day", views.overview_day, name="overview-day"),
    path("scenarios/", scenarios.scenario_list, name="scenarios"),
    path("scenarios/run", scenarios.run_all, name="scenarios-run"),
    path("scenarios/<int:number>/run", scenarios.run_one, name="scenario-run"),
    path("search/", search.search, name="search"),
    path("ips/<str:name>/", senders.sender, {"kind": "ip"}, name="ip"),
    path("ips/<str:name>/acts/<slug:act>", senders.act, {"kind": "ip"}, name="ip-act"),
    path("ips/<str:name>/<slug:table>/", senders.table, {"kind": "ip"}, name="ip-table"),
    path("domains/<str:name>/", senders.sender, {"kind": "domain"}, name="domain"),
    path("domains/<str:name>/acts/<slug:act>", senders.act, {"kind": "domain"}, name="domain-act"),
    path("domains/<str:name>/<slug:table>/", senders.table, {"kind": "domain"}, name="domain-table"),
    path("changes/<int:pk>/judgement", senders.judge, name="judge"),
    path("pools/<int:pk>/", views.pool, name="pool"),
    path("files/<slug:what>.csv", files.download, name="file"),
    path("files/<slug:kind>/<str:name>/<slug:what>.csv", detail_files.download, name="detail-file"),
    path("providers/", fleet.provider_list, name="providers"),
    path("providers/<str:provider>/", fleet.provider, name="provider"),
    path("breakers/", fleet.breaker_list, name="breakers"),
    path("breakers/open", acts.open_any_breaker, name="breaker-open-any"),
    path("breakers/<int:pk>/", fleet.breaker, name="breaker"),
    path("breakers/<int:pk>/<str:act>", acts.act_on_breaker, name="breaker-act"),
    path("warmups/", fleet.warmup_list, name="warmups"),
    path("warmups/start", acts.start_warmup, name="warmup-start"),
    path("warmups/<int:pk>/", fleet.warmup, name="warmup"),
    path("warmups/<int:pk>/<str:act>", acts.act_on_warmup, name="warmup-act"),
    path("blocklists/", views.blocklists, name="blocklists"),
    path("alerts/", alerts.alert_list, name="alerts"),
    path("alerts/<int:pk>/", alerts.alert, name="alert"),
    path("alerts/<int:pk>/acknowledge", alerts.act, {"verb": "acknowledge"}, name="alert-acknowledge"),
    path("alerts/<int:pk>/resolve", alerts.act, {"verb": "resolve"}, name="alert-resolve"),
    path("sources/", sources.source_list, name="sources"),
    path("sources/<str:name>/", sources.source, name="source"),
    path("sources/<str:name>/live", sources.source_live, name="source-live"),
    path("sources/<str:name>/test", sources.source_test, name="source-test"),
]
