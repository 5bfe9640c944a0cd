"""W3C trace context: which `traceparent` is valid (https://www.w3.org/TR/trace-context/, section 3.2)."""

import re
from collections.abc import Mapping
from typing import Final

TRACEPARENT_PATTERN: Final = r"^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$"

_TRACEPARENT: Final = re.compile(TRACEPARENT_PATTERN.removeprefix("^").removesuffix("$"))


def valid_traceparent(text: object) -> str | None:
    """Give `text` back if it is a valid `traceparent`, else None: a broken one is as good as none."""
    return text if isinstance(text, str) and _TRACEPARENT.fullmatch(text) else None


def traceparent_in(headers: Mapping[str, bytes]) -> str | None:
    """Find the trace context among headers whose names are in lower case.

    The transport's own header comes first: the CloudEvents extension tells where the event was first made.
    """
    for name in ("traceparent", "ce_traceparent"):
        found = valid_traceparent(headers.get(name, b"").decode("ascii", errors="replace"))
        if found:
            return found
    return None
