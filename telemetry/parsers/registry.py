"""The parsers by name; a rejected event remembers the name so that it can be read again."""

from telemetry.esp.parsers import ESP_PARSERS
from telemetry.parsers.base import Parser
from telemetry.parsers.documented import DOCUMENTED
from telemetry.parsers.generic import GENERIC
from telemetry.parsers.kumomta import KUMOMTA
from telemetry.parsers.powermta import POWERMTA

PARSERS: dict[str, Parser] = {parser.name: parser for parser in (DOCUMENTED, GENERIC, KUMOMTA, POWERMTA)} | ESP_PARSERS
