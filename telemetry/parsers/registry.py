"""The parsers by name; a rejected event remembers the name so that it can be read again."""

from telemetry.parsers.base import Parser
from telemetry.parsers.documented import DOCUMENTED
from telemetry.parsers.generic import GENERIC

PARSERS: dict[str, Parser] = {parser.name: parser for parser in (DOCUMENTED, GENERIC)}
