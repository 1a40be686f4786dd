"""What holds for every operation of the API: pages, filters, errors. Walks the OpenAPI document, so new ones are held too."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from reputation.models import Policy, WarmupPolicy
from telemetry.models import Source
from telemetry.tokens import issue_api_token, issue_token

pytestmark = pytest.mark.django_db
Ask = Callable[..., Any]
IN_PATHS = {
    "id": "1",
    "ip": "192.0.2.10",
    "domain": "shop.example",
    "prefix": "abcdefghijkl",
    "what": "events",
    "source": "mta-1",
    "esp": "postmark",
}
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


@cache
def document() -> Any:
    return json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))


OPERATIONS = [
    pytest.param(method, path, told, id=told["operationId"])
    for path, methods in document()["paths"].items()
    for method, told in methods.items()
]


def those(condition: Callable[[str, Any], bool]) -> list[Any]:
    return [entry for entry in OPERATIONS if condition(entry.values[0], entry.values[2])]


def for_people(told: Any) -> bool:
    return {"apiToken": []} in told["security"]


def parameters(told: Any, where: str = "query") -> dict[str, Any]:
    return {entry["name"]: entry for entry in told.get("parameters", []) if entry["in"] == where}


def shape_of(told: Any) -> Any:
    shape = told["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return document()["components"]["schemas"].get(shape.get("$ref", "").rpartition("/")[2], shape)


LISTS = those(lambda method, told: "results" in shape_of(told).get("properties", {}) and method == "get")
READS = those(lambda method, told: method == "get" and for_people(told))
FOR_PEOPLE = those(lambda method, told: for_people(told))
PATHS_FOR_PEOPLE = {entry.values[1] for entry in FOR_PEOPLE} - {
    entry.values[1] for entry in OPERATIONS if not for_people(entry.values[2])
}


@pytest.fixture
def ask(client: Client, django_user_model: type[User]) -> Ask:
    admin = django_user_model.objects.create_superuser("admin")
    source = Source.objects.create(name="mta-1", kind="generic")
    tokens = {"apiToken": issue_api_token(admin), "sourceToken": issue_token(source), "": ""}

    def send(method: str, path: str, query: str = "", body: str = "", **headers: str) -> Any:
        who = headers.pop("who", "apiToken")
        if tokens[who]:
            headers["Authorization"] = f"Bearer {tokens[who]}"
        url = path.format(**IN_PATHS) + query
        kind = headers.pop("Content-Type", "application/json")
        return client.generic(method.upper(), url, body, kind, headers=headers)

    return send


def assert_problem(answer: Any, status: int, field: str = "") -> None:
    assert answer.status_code == status, (answer.status_code, answer.content[:300])
    assert answer["Content-Type"] == "application/problem+json"
    told = json.loads(answer.content)
    assert told["status"] == status
    assert told["title"]
    assert told["type"]
    if field:
        assert field in [entry["field"] for entry in told["errors"]], told


def test_the_lists_are_found() -> None:
    assert len(LISTS) > 30
    assert len(READS) > 60


def test_only_what_cannot_grow_is_answered_as_a_plain_array() -> None:
    arrays = those(lambda method, told: method == "get" and shape_of(told).get("type") == "array")
    assert {entry.values[2]["operationId"] for entry in arrays} == {
        "retention_list",
        "source_tokens_list",
        "testing_test_cases",
    }


@pytest.mark.parametrize(("method", "path", "told"), LISTS)
def test_every_list_is_paged_in_one_of_two_ways(method: str, path: str, told: Any) -> None:
    known, shape = parameters(told), shape_of(told)["properties"]
    assert {"next", "previous", "results"} <= set(shape)
    assert ("page" in known) != ("cursor" in known)
    assert ("count" in shape) == ("page" in known)
    size = known["page_size"]["schema"]
    assert (size["minimum"], size["maximum"], size["default"]) == (1, 1000, 50)


@pytest.mark.parametrize(("method", "path", "told"), LISTS)
def test_a_page_that_nobody_can_mean_is_refused(ask: Ask, method: str, path: str, told: Any) -> None:
    for name in ("page", "cursor", "page_size"):
        if name not in parameters(told):
            continue
        for nonsense in ("0", "-1", "x", "1001") if name == "page_size" else ("-1", "x!"):
            answer = ask(method, path, f"?{name}={nonsense}")
            # A list below a thing that is not there is 404 before anybody looks at its pages.
            if answer.status_code == 404 and "{id}" in path:
                continue
            assert_problem(answer, 400, name)


@pytest.mark.parametrize(("method", "path", "told"), FOR_PEOPLE)
def test_a_parameter_that_an_operation_does_not_know_is_refused_by_name(
    ask: Ask, method: str, path: str, told: Any
) -> None:
    assert_problem(ask(method, path, "?colour=red", body="{}"), 400, "colour")


@pytest.mark.parametrize(("method", "path", "told"), READS)
def test_a_filter_with_a_value_that_cannot_be_is_refused_by_name(ask: Ask, method: str, path: str, told: Any) -> None:
    for name in sorted(set(parameters(told)) - {"page", "page_size", "cursor"}):
        answer = ask(method, path, f"?{name}=%00")
        if answer.status_code == 404 and ("{id}" in path or name == "server"):
            continue
        assert_problem(answer, 400, name)


@pytest.mark.parametrize(("method", "path", "told"), OPERATIONS)
def test_every_error_is_documented_as_problem_details(method: str, path: str, told: Any) -> None:
    wrong = {status: answer for status, answer in told["responses"].items() if int(status) >= 400}
    assert {"400", "401", "403", "406", "503"} <= set(wrong)
    assert "requestBody" not in told or {"413", "415"} <= set(wrong)
    assert "{" not in path or "404" in wrong
    assert all(answer["content"] == PROBLEM for answer in wrong.values())
    assert "Retry-After" in wrong["503"]["headers"]


# At an ESP's URL a signature in the body may stand for the token.
@pytest.mark.parametrize(("method", "path", "told"), those(lambda _, told: {} not in told["security"]))
def test_who_says_nothing_of_himself_is_answered_401_as_a_problem(ask: Ask, method: str, path: str, told: Any) -> None:
    answer = ask(method, path, who="", body="{}")
    assert_problem(answer, 401)
    assert answer["WWW-Authenticate"]


@pytest.mark.parametrize(("method", "path", "told"), FOR_PEOPLE)
def test_what_cannot_be_answered_or_read_is_a_problem_too(ask: Ask, method: str, path: str, told: Any) -> None:
    assert_problem(ask(method, path, body="{}", Accept="application/xml"), 406)
    # Of a thing that is not there nobody reads the body.
    if "requestBody" in told and not {"id", "what", "ip"} & set(parameters(told, "path")):
        assert_problem(ask(method, path, body="<a/>", **{"Content-Type": "application/xml"}), 415)


@pytest.mark.parametrize("path", sorted(PATHS_FOR_PEOPLE))
def test_a_method_that_is_not_there_is_405_and_says_which_are(ask: Ask, path: str) -> None:
    answer = ask("TRACE", path)
    assert_problem(answer, 405)
    offered = {method.upper() for method in document()["paths"][path]}
    assert offered <= set(answer["Allow"].split(", "))


@pytest.mark.parametrize(
    "path",
    ["/api/nothing", "/api/sources/x", "/api/sources/99999999999999999999/tokens/abc/revoke", "/api/pool-domains/%00"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_is_not_there_is_a_problem_whatever_the_method(ask: Ask, method: str, path: str) -> None:
    answer = ask(method, path)
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.status_code in (400, 404, 405)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PATCH", "/api/retention/receipts", {"keep": 30}, "keep"),
        ("PATCH", "/api/retention/receipts", {"keep": ""}, "keep"),
        ("PATCH", "/api/retention/receipts", {"keep": "soon"}, "keep"),
        ("PATCH", "/api/policies/{policy}", {"reason": "a test", "minimum_volume": "50"}, "minimum_volume"),
        ("PATCH", "/api/policies/{policy}", {"reason": "a test", "minimum_volume": True}, "minimum_volume"),
        ("PATCH", "/api/policies/{policy}", {"reason": 7}, "reason"),
        ("POST", "/api/sources", {"name": "mta-2", "is_active": "yes"}, "is_active"),
        ("POST", "/api/sources", {"name": "mta-2", "is_active": 1}, "is_active"),
        ("POST", "/api/sources", {"name": 2}, "name"),
        ("POST", "/api/alert-rules", {"name": "all", "channels": ["1"]}, "channels[0]"),
        ("POST", "/api/warmups/start", {"sending_ip": "192.0.2.1", "amounts": ["5"], "reason": "x"}, "amounts[0]"),
        ("POST", "/api/permits", {"sender": "a@shop.example", "recipients": "2"}, "recipients"),
        # What PostgreSQL does not take, before anything is looked up by it.
        ("POST", "/api/permits", {"sender": "a@shop.example", "pool": "x\x00"}, "pool"),
        ("PATCH", "/api/warmup-policies/{warmup}", {"reason": "a test", "ip_template": "x\x00"}, "ip_template"),
        ("POST", "/api/sources", {"name": "mta-2", "ip_map": {"a\x00": "192.0.2.1"}}, "ip_map"),
        ("POST", "/api/sources", {"name": "mta-2", "ip_map": {"a\ud800": "192.0.2.1"}}, "ip_map"),
    ],
)
def test_a_value_of_another_json_type_is_refused_by_name(
    ask: Ask, method: str, path: str, body: Any, field: str
) -> None:
    for name, model in (("{policy}", Policy), ("{warmup}", WarmupPolicy)):
        path = path.replace(name, str(model.objects.values_list("pk", flat=True)[0]))
    assert_problem(ask(method, path, body=json.dumps(body)), 400, field)


@pytest.mark.parametrize("path", ["/api/policies", "/api/ips", "/api/breakers", "/api/sources/1", "/api/alerts"])
def test_who_polls_is_told_that_nothing_changed(ask: Ask, path: str) -> None:
    path = path.replace("/1", f"/{Source.objects.get().pk}")
    first = ask("GET", path)
    assert first.status_code == 200
    again = ask("GET", path, **{"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_changed_is_answered_anew(ask: Ask) -> None:
    source = Source.objects.get()
    first = ask("GET", f"/api/sources/{source.pk}")
    Source.objects.update(notes="moved to another rack")
    again = ask("GET", f"/api/sources/{source.pk}", **{"If-None-Match": first["ETag"]})
    assert again.status_code == 200
    assert again["ETag"] != first["ETag"]
    assert again.json()["notes"] == "moved to another rack"


def test_a_thing_that_was_made_says_where_it_is_read_changed_and_deleted() -> None:
    made = document()["paths"]["/api/sources"]["post"]["responses"]["201"]["links"]
    assert {"sources_retrieve", "sources_update", "sources_delete", "source_tokens_create"} <= set(made)
    assert made["sources_retrieve"]["parameters"] == {"id": "$response.body#/id"}
    made = document()["paths"]["/api/sources/{id}/tokens"]["post"]["responses"]["201"]["links"]
    assert set(made) == {"source_tokens_revoke", "source_tokens_rotate"}
    assert made["source_tokens_revoke"]["parameters"]["prefix"] == "$response.body#/prefix"
    assert "breakers_close" in document()["paths"]["/api/breakers/open"]["post"]["responses"]["200"]["links"]
    assert "warmups_skip" in document()["paths"]["/api/warmups/start"]["post"]["responses"]["200"]["links"]
