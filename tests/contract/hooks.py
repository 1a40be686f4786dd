"""What Schemathesis has to know of us that an OpenAPI document cannot say."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.specs.openapi.checks import positive_data_acceptance

_MINE = os.environ["SOURCE_ID"]
_SPARE = os.environ["SPARE_SOURCE_ID"]

# What a request is told whose shape is wrong: what JSON Schema can say, so that a request which is valid by the document
# must never hear it. Any other 400 is a rule of ours that no schema can say (the clock, what is in the database, two
# fields that do not go together, a time zone's name), and names the field.
SHAPES = [
    r"This field is required\.",
    r"This field may not be (null|blank|empty)\.",
    r"Not a valid string\.",
    r"Must be a valid boolean\.",
    r"A valid (integer|number) is required\.",
    r"Ensure this field has (no more than|at least) .*",
    r".* is not a valid choice\.",
    r"Expected a (list|dictionary) .*",
    r"Invalid data\. Expected a dictionary.*",
    r"Incorrect type\. .*",
    r"(Date|Datetime|Time|Duration) has wrong format.*",
    r"Enter a valid IPv4 or IPv6 address\.",
    r"Value must be valid JSON\.",
    r"JSON parse error.*",
    r"Give (true or false|a whole number|a number|an id|text|one of the words)(, (without|in) quotes)?\.",
    r"Give a whole number from .*",
    r"Give a (duration|time) as .*",
    r"Give a time of day as .*",
    r"There is no such field to write\.",
    r"There is no such parameter\.",
]
_SHAPES = re.compile("|".join(f"(?:{shape})" for shape in SHAPES), re.DOTALL)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """The source that reports stays as it is: without its token no report would be looked at any more."""
    changes_a_source = case.path.startswith("/api/sources/{id}") and case.method != "GET"
    if changes_a_source and case.path_parameters and str(case.path_parameters.get("id")) == _MINE:
        case.path_parameters["id"] = int(_SPARE)


@schemathesis.check
def valid_is_taken(ctx: Any, response: Any, case: Any) -> bool | None:
    """`positive_data_acceptance`, but for refusals by a rule that JSON Schema cannot say."""
    try:
        return positive_data_acceptance(ctx, response, case)
    except RejectedPositiveData:
        if response.status_code == 400 and _is_a_rule(response.content):
            return None
        raise


def _is_a_rule(body: bytes) -> bool:
    try:
        errors = json.loads(body).get("errors", [])
    except ValueError:
        return False
    return bool(errors) and not any(_SHAPES.fullmatch(error["message"]) for error in errors)
