"""Fuzzing by the schema: hypothesis draws records as each format has them, with hostile values in some of the fields.

Where the format is a msgspec struct its fields and types are read from there, so a new field is drawn by itself.
"""

from __future__ import annotations

import base64
import json
import quopri
import sys
import time
from collections.abc import Callable
from typing import Any

import django
import msgspec
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

django.setup()

from telemetry.parsers import documented, generic, kumomta, powermta, stalwart_fields  # noqa: E402
from tests.fuzz.seeds import ESP_RECORDS, HOSTILE, HOSTILE_BYTES, LOG_LINES, MAILS, RECORDS, esp_request  # noqa: E402
from tests.fuzz.targets import read  # noqa: E402

AT_ONCE = 500
Draw = Callable[[st.SearchStrategy[Any]], Any]
_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "documented": documented._Envelope,
    "generic": generic.GenericEvent,
    "kumomta": kumomta._Record,
    "powermta": powermta._Row,
    "stalwart": stalwart_fields.Head,
}
_INSIDE = {"stalwart": {"data": stalwart_fields.Data}}

TEXT = st.text(max_size=40) | st.sampled_from([value for value in HOSTILE if isinstance(value, str)])
HOSTILE_VALUE = st.sampled_from(HOSTILE)
ANYTHING = HOSTILE_VALUE | st.recursive(
    TEXT | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
ADDRESS = st.builds("{}@{}".format, TEXT, st.sampled_from(["gmail.com", "bücher.example", "[192.0.2.1]", "a..b", "xn--a"]) | TEXT)  # fmt: skip
MOMENT = st.datetimes().map(str) | st.integers(0, 2**40) | st.floats() | st.datetimes().map(lambda at: f"{at.isoformat()}Z")  # fmt: skip
REPLY = st.builds("{}{}{} {}".format, st.sampled_from(["", "smtp;", "550 ", "421-"]), st.sampled_from(["5.7.1", "4.999.999", "9.9.9", ""]), TEXT, TEXT)  # fmt: skip
LIKELY = ADDRESS | MOMENT | REPLY | st.ip_addresses().map(str) | st.integers(-1, 1000)


def _typed(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    """Values that this type of a schema allows."""
    if isinstance(kind, msgspec.inspect.StructType):
        return _of(kind.cls)
    if isinstance(kind, msgspec.inspect.UnionType):
        return st.one_of([_typed(one) for one in kind.types])
    if isinstance(kind, msgspec.inspect.ListType):
        return st.lists(_typed(kind.item_type), max_size=4)
    if isinstance(kind, msgspec.inspect.StrType):
        return TEXT | ADDRESS | REPLY | st.ip_addresses().map(str) | st.datetimes().map(str)
    if isinstance(kind, msgspec.inspect.IntType):
        return st.integers(-1, 1000) | st.integers(-(2**66), 2**66)
    if isinstance(kind, msgspec.inspect.FloatType):
        return st.floats()
    return st.none() if isinstance(kind, msgspec.inspect.NoneType) else ANYTHING


def _of(struct: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=_fields(struct))


def _fields(struct: type[msgspec.Struct]) -> dict[str, st.SearchStrategy[Any]]:
    kind = msgspec.inspect.type_info(struct)
    assert isinstance(kind, msgspec.inspect.StructType)
    return {field.encode_name: _typed(field.type) | LIKELY | ANYTHING for field in kind.fields}


def _spoilt(draw: Draw, good: Any, fields: dict[str, Any]) -> Any:
    """The good value with some of it drawn anew, at any depth. `fields` are strategies by name, nested ones as dicts."""
    if isinstance(good, str) and good[:1] == "{":  # SES carries JSON within JSON
        return json.dumps(_spoilt(draw, json.loads(good), {}))
    if isinstance(good, list):
        changed = [_spoilt(draw, entry, {}) for entry in good]
        return changed + draw(st.lists(ANYTHING, max_size=1)) if draw(st.integers(0, 5)) == 0 else changed
    if not isinstance(good, dict):
        return draw(LIKELY | ANYTHING) if draw(st.integers(0, 7)) == 0 else good
    spoilt = dict(good)
    for name in draw(st.lists(st.sampled_from(sorted({*good, *fields})), max_size=3, unique=True)):
        inner = fields.get(name)
        how = draw(st.integers(0, 9))
        if how == 0:
            spoilt.pop(name, None)
        elif how < 7 and _holds_more(good.get(name)):
            spoilt[name] = _spoilt(draw, good[name], inner if isinstance(inner, dict) else {})
        else:
            spoilt[name] = draw(inner if isinstance(inner, st.SearchStrategy) else LIKELY | ANYTHING)
    return spoilt


def _holds_more(value: Any) -> bool:
    return isinstance(value, dict | list) or (isinstance(value, str) and value[:1] == "{")


def _schema(name: str) -> dict[str, Any]:
    """Strategies by field, as `_spoilt` takes them."""
    fields: dict[str, Any] = dict(_fields(_STRUCTS[name])) if name in _STRUCTS else {}
    for nested, struct in _INSIDE.get(name, {}).items():
        fields[nested] = _fields(struct)
    return fields


@st.composite
def _posted(draw: Draw, name: str) -> bytes:
    fields = _SCHEMAS.setdefault(name, _schema(name))
    good = draw(st.lists(st.sampled_from(RECORDS[name]), min_size=1, max_size=4))
    events = [_spoilt(draw, record, fields) for record in good]
    whole = {"events": events} if name in ("documented", "stalwart") else events
    return _written(whole)


_SCHEMAS: dict[str, dict[str, Any]] = {}


@st.composite
def _powermta(draw: Draw) -> bytes:
    if draw(st.booleans()):
        return b"\n".join(_written(record) for record in json.loads(draw(_posted("powermta"))))
    columns = sorted(RECORDS["powermta"][0])
    for name in draw(st.lists(st.sampled_from(columns), max_size=2, unique=True)):
        columns.remove(name)
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        cells = [str(RECORDS["powermta"][0][column]) for column in columns]
        for at in draw(st.lists(st.integers(0, len(cells) - 1), max_size=3)):
            cells[at] = draw(TEXT | REPLY | MOMENT.map(str) | ADDRESS)
        quoted = ['"' + cell.replace('"', '""') + '"' if draw(st.integers(0, 9)) else cell for cell in cells]
        rows.append(",".join(quoted))
    # The type stands first: by it a header line is known.
    rows = [f"{draw(st.sampled_from('dbtf'))},{row}" for row in rows]
    return "\n".join([",".join(["type", *columns]), *rows]).encode("utf-8", "replace")


@st.composite
def _esp(draw: Draw) -> bytes:
    slug = draw(st.sampled_from(sorted(ESP_RECORDS)))
    good = draw(st.lists(st.sampled_from(ESP_RECORDS[slug]), min_size=1, max_size=3))
    kind = draw(st.sampled_from(["application/json"] * 4 + ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain; charset=x"]))  # fmt: skip
    head: dict[str, Any] = {"key": draw(st.sampled_from(["", "whsec_AAAA", "k", "\u00e9"]))}
    if slug != "mandrill" or draw(st.integers(0, 9)) == 0:
        head["type"] = kind
    if draw(st.booleans()):
        names = ["svix-timestamp", "svix-signature", "x-postal-signature", "x-amz-sns-message-type", "signature"]
        head["headers"] = draw(st.dictionaries(st.sampled_from(names), TEXT | st.just("Notification"), max_size=4))
    request = esp_request(slug, [_spoilt(draw, record, {}) for record in good], head=head)
    if kind.startswith("application/x-www") and slug != "mandrill":
        record = {str(name): str(value) for name, value in good[0].items()}
        said = request.partition(b"\n")[0]
        return said + b"\n" + "&".join(f"{name}={value}" for name, value in record.items()).encode("utf-8", "replace")
    return request


@st.composite
def _log(draw: Draw) -> bytes:
    lines = []
    for line in draw(st.lists(st.sampled_from(LOG_LINES), min_size=1, max_size=6)):
        words = line.split(" ")
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(words) - 1))
            name, equals, _old = words[at].partition("=")
            new = draw(TEXT | REPLY | ADDRESS.map("<{}>,".format) | st.sampled_from(words))
            words[at] = f"{name}={new}" if equals and draw(st.booleans()) else new
        lines.append(" ".join(words))
    return "\n".join(lines).encode("utf-8", "replace")


_FIELD = st.sampled_from(
    sorted({line.partition(b":")[0].decode() for mail in MAILS for line in mail.split(b"\r\n") if b": " in line})
)
_VALUE = st.one_of(
    TEXT, REPLY, ADDRESS, ADDRESS.map("rfc822; {}".format), ADDRESS.map("<{}>".format), st.ip_addresses().map(str),
    st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S +0000")), st.sampled_from(["failed", "delayed", "abuse", "smtp; 550-5.1.1 no", "2", "=?utf-8?q?=ff?=", "=?x?b?=?="]),
)  # fmt: skip
_TYPES = ["message/feedback-report", "message/delivery-status", "message/global-delivery-status", "message/rfc822", "text/rfc822-headers", "text/plain", "multipart/mixed; boundary=b", "multipart/report; boundary=c", 'text/plain; charset="x"', "message/partial; number=9"]  # fmt: skip


@st.composite
def _mail(draw: Draw) -> bytes:
    def fields(most: int) -> str:
        pairs = draw(st.lists(st.tuples(_FIELD, _VALUE), max_size=most))
        return "".join(f"{name}: {value}\r\n" for name, value in pairs)

    raw = draw(st.sampled_from(MAILS))
    if draw(st.booleans()):
        lines = raw.split(b"\r\n")
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(lines) - 1))
            new = draw(_VALUE).encode("utf-8", "surrogatepass") if draw(st.booleans()) else draw(st.sampled_from(HOSTILE_BYTES))  # fmt: skip
            name, colon, _old = lines[at].partition(b": ")
            lines[at] = name + colon + new if draw(st.booleans()) else new
        return b"\r\n".join(lines)
    parts = b""
    for _ in range(draw(st.integers(1, 4))):
        text = (fields(8) + "\r\n" + fields(8)).encode("utf-8", "surrogatepass")
        coding = draw(st.sampled_from(["7bit", "8bit", "base64", "quoted-printable", "x-uuencode", "?"]))
        if coding == "base64":
            text = base64.encodebytes(text)
        elif coding == "quoted-printable":
            text = quopri.encodestring(text)
        kind = draw(st.sampled_from(_TYPES))
        parts += f"--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {coding}\r\n\r\n".encode() + text + b"\r\n"
    head = fields(4).encode("utf-8", "surrogatepass")
    return head + b"Content-Type: multipart/report; boundary=b\r\n\r\n" + parts + b"--b--\r\n"


def _written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def bodies(name: str) -> st.SearchStrategy[bytes]:
    """Bodies, files or requests of this format, most of them nearly good."""
    special = {"esp": _esp, "postfix": _log, "report_mail": _mail, "powermta": _powermta}
    return special[name]() if name in special else _posted(name)


def run(name: str, seconds: int) -> int:
    """Draw until the time is up; 1, with the shortest input found, when something escaped."""
    tried, began = 0, time.monotonic()
    limits = settings(
        max_examples=AT_ONCE,
        deadline=None,
        database=None,
        verbosity=Verbosity.normal,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )

    def nothing_escapes(raw: bytes) -> None:
        nonlocal tried
        tried += 1
        read(name, raw)

    first = time.time_ns() % 2**32
    number = 0
    while time.monotonic() - began < seconds:
        try:
            limits(seed(first + number)(given(bodies(name))(nothing_escapes)))()
        except Exception:  # noqa: BLE001 - that is what is looked for
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            return 1
        number += 1
    print(f"{name}: {tried:,} inputs in {seconds} s, nothing escaped")
    return 0
