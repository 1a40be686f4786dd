"""The OpenAPI document: whole, without a warning, and offline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

DOCUMENTED = {
    ("post", "/api/webhooks/stalwart/delivery-failure"),
    ("get", "/api/ips/{ip}/reputation"),
    ("get", "/api/ips/{ip}/failures"),
    ("post", "/api/ips/{ip}/quarantine"),
    ("post", "/api/ips/{ip}/dnsbl-check"),
    ("get", "/api/dashboard/ip-health"),
    ("post", "/api/testing/simulate-failures"),
    ("get", "/api/testing/test-cases"),
    ("post", "/api/testing/test-cases/{id}/run"),
    ("post", "/api/testing/test-suite/run"),
}


@pytest.fixture
def schema(client: Client) -> Any:
    answer = client.get("/api/schema", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    return answer.json()


def operations(schema: Any) -> dict[tuple[str, str], Any]:
    return {(method, path): told for path, methods in schema["paths"].items() for method, told in methods.items()}


def test_the_schema_has_no_error_and_no_warning(tmp_path: Path) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))
    assert (tmp_path / "schema.yml").stat().st_size > 10_000


def test_the_documented_endpoints_are_there_by_their_names(schema: Any) -> None:
    assert set(operations(schema)) >= DOCUMENTED


def test_every_url_of_the_api_is_described(schema: Any) -> None:
    def patterns(resolver: URLResolver, prefix: str = "") -> list[str]:
        found = []
        for entry in resolver.url_patterns:
            if isinstance(entry, URLResolver):
                found += patterns(entry, prefix + str(entry.pattern))
            elif isinstance(entry, URLPattern):
                found.append("/" + prefix + str(entry.pattern))
        return found

    def shape(path: str) -> str:
        return re.sub(r"<[^>]+>|\{[^}]+\}", "*", path)

    urls = {shape(path) for path in patterns(get_resolver()) if path.startswith("/api/")}
    assert urls - {"/api/schema", "/api/docs", "/api/*"} == {shape(path) for path in schema["paths"]}


def test_every_operation_has_a_tag_a_summary_and_its_problems(schema: Any) -> None:
    for (method, path), told in operations(schema).items():
        assert told["tags"] != ["api"], path
        assert told["summary"], path
        assert told["security"], path
        assert {"401", "403"} <= set(told["responses"]), (method, path)
        for status, answer in told["responses"].items():
            if int(status) >= 400:
                assert answer["content"], (path, status)
    assert "ips_reputation" in {told["operationId"] for told in operations(schema).values()}


def test_both_kinds_of_token_are_described_where_they_open(schema: Any) -> None:
    assert {"apiToken", "sourceToken"} <= set(schema["components"]["securitySchemes"])
    told = operations(schema)
    assert told["post", "/api/events"]["security"] == [{"sourceToken": []}]
    assert {"apiToken": []} in told["get", "/api/events"]["security"]


def test_the_documentation_page_asks_no_other_host(client: Client) -> None:
    page = client.get("/api/docs").content.decode()
    assert "swagger-ui" in page
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
