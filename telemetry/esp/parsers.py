"""The providers' formats by name, for records that are kept and read again; anymail is loaded when one is needed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from django.utils.module_loading import import_string

from telemetry.esp.catalogue import ESPS
from telemetry.parsers.base import Parse, Parsed, Parser


def parser_name(slug: str) -> str:
    """The name of a provider's format among all formats."""
    return f"esp_{slug}"


def _parse(slug: str, ip_map: Mapping[str, str], raw: bytes, now: datetime) -> Parsed:
    found: Parsed = import_string("telemetry.esp.adapter.events_of")(slug, ip_map, raw, now)
    return found


def _parser(slug: str) -> Parser:
    def with_ip_map(ip_map: Mapping[str, str]) -> Parse:
        return partial(_parse, slug, ip_map)

    return Parser(parser_name(slug), partial(_parse, slug, {}), with_ip_map)


ESP_PARSERS: dict[str, Parser] = {parser_name(slug): _parser(slug) for slug in ESPS}
