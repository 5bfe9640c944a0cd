"""JSON from strangers: parsed without harm, and a typed reason where it cannot be.

The parser is pydantic's own (jiter): UTF-8 only, no NaN or Infinity, at most about 200 levels deep whatever
the stack has left, no integer past 4,300 digits. It has no reason codes, so a refused text is looked at a
second time, at leisure, to say why.
"""

import json
import re
from typing import Any, Final

from pydantic_core import from_json

from schemas.errors import SchemaError
from schemas.ids import Identity, identity_in

MAX_EVENT_BYTES: Final = 1024 * 1024

_BOM: Final = b"\xef\xbb\xbf"
_POSITION: Final = re.compile(r"at line (\d+) column (\d+)$")
_NUL: Final = re.compile("\0")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SALVAGE_BYTES: Final = 64 * 1024


def parse(text: bytes) -> Any:
    """Parse one JSON value; of a key that comes twice the last holds, as in most parsers.

    A byte order mark is skipped.

    Raises
    ------
    SchemaError
        `empty_value`, `too_large`, `not_utf8`, `too_deep`, `nul_character`, `lone_surrogate` or
        `malformed_json`.
    """
    if len(text) > MAX_EVENT_BYTES:
        message = f"the event has {len(text)} bytes, more than the {MAX_EVENT_BYTES} that are allowed"
        raise SchemaError("too_large", message, identity=salvage_identity(text))
    body = text.removeprefix(_BOM)
    if not body.strip():
        raise SchemaError("empty_value", "the event is empty: there is no JSON in it")
    try:
        value = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise _refusal(body, str(error)) from error
    if b"\\u0000" in body and _holds(_NUL, value):
        raise _nul(identity_in(value))
    return value


def salvage_identity(text: bytes) -> Identity:
    """Read the ids from the sound beginning of a text that is no JSON as a whole; never raises."""
    beginning = text[:_SALVAGE_BYTES].decode("utf-8", errors="ignore").encode("utf-8").removeprefix(_BOM)
    try:
        return identity_in(from_json(beginning, allow_partial=True))
    except ValueError as error:
        cut = _offset(beginning, str(error))
    try:
        return identity_in(from_json(beginning[:cut], allow_partial=True))
    except ValueError:
        return Identity()


def _refusal(body: bytes, reason: str) -> SchemaError:
    """Say why the parser refused `body`."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        message = (
            f"the event is not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start} does not fit"
        )
        return SchemaError("not_utf8", message, identity=salvage_identity(body[: error.start]))
    if reason.startswith("recursion limit"):
        return SchemaError("too_deep", "the event's JSON is nested too deep", identity=salvage_identity(body))
    try:
        # Laxer than the standard on purpose: what is only unfit to be kept is told apart from broken syntax.
        value = json.loads(text, strict=False, parse_int=float)
    except (ValueError, RecursionError):
        return SchemaError(
            "malformed_json", f"the event is not JSON: {reason}", identity=salvage_identity(body)
        )
    if _holds(_NUL, value):
        return _nul(identity_in(value))
    if _holds(_SURROGATE, value):
        message = "the event has half of a surrogate pair (\\ud800 to \\udfff alone), which is no character"
        return SchemaError("lone_surrogate", message, identity=identity_in(value))
    return SchemaError("malformed_json", f"the event is not JSON: {reason}", identity=identity_in(value))


def _holds(unfit: re.Pattern[str], value: Any) -> bool:
    """Say whether a text or key in `value` has `unfit` in it; no recursion, depth is the sender's choice."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if unfit.search(item):
                return True
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return False


def _nul(identity: Identity) -> SchemaError:
    message = "the event has a NUL character (\\u0000) in a text, which cannot be kept"
    return SchemaError("nul_character", message, identity=identity)


def _offset(body: bytes, reason: str) -> int:
    """Turn the parser's ``at line L column C`` into the offset of the byte that it stopped at."""
    found = _POSITION.search(reason)
    if found is None:
        return 0
    line, column = int(found.group(1)), int(found.group(2))
    start = 0
    for _ in range(line - 1):
        start = body.find(b"\n", start) + 1
    return max(0, start + column - 1)
