"""Pages from templates: every text is escaped, numbers and times are written the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import blake2s
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup, escape
from pydantic import BaseModel

from agents.status import ENDED, CallStatus
from app.calls import CallState
from app.web.static_files import StaticFiles
from schemas import DEFAULT_TENANT_ID, ChannelStatistics

UNDEFINED = "\u2013"
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_KB = 1000
_SHORT_DIGEST_CHARS = 12


class Templates:
    """The templates of the package, with the words and functions that they use."""

    def __init__(self, static_files: StaticFiles) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("app.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "ago": ago,
            "clock": clock,
            "coded": coded,
            "count": count,
            "due": due,
            "iso": iso,
            "level": level,
            "noisiest": noisiest,
            "revision": revision,
            "short": short,
            "size": size,
            "span": span,
            "stamp": stamp,
        }
        self._environment.globals |= {
            "CallStatus": CallStatus,
            "DEFAULT_TENANT_ID": DEFAULT_TENANT_ID,
            "ENDED": ENDED,
            "call_address": call_address,
            "list_address": list_address,
            "static": static_files.address,
            "status_address": status_address,
            "tenant_address": tenant_address,
            "version": version("clearcall"),
        }

        # A fault in a template shows when the worker starts, not when somebody opens the page.
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def render(self, template: str, **values: Any) -> str:
        """The page, or the part of one."""
        return self._environment.get_template(template).render(now=datetime.now(UTC), **values)


def level(value: float | None, digits: int = 1) -> str:
    """A level or loudness, with a true minus sign; what is not defined is a dash."""
    if value is None:
        return UNDEFINED
    text = f"{value:,.{digits}f}"
    # No "-0.0": it is the same as zero.
    return text.removeprefix("-") if not text.strip("-0.,") else text.replace("-", "\u2212")


def count(value: int) -> str:
    """A number of things."""
    return f"{value:,}"


def clock(seconds: float | None) -> str:
    """The length of a recording: ``1:05``, ``1:00:05``."""
    if seconds is None:
        return UNDEFINED
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span(seconds: float | timedelta | None) -> str:
    """How long something took."""
    if seconds is None:
        return UNDEFINED
    seconds = max(0.0, seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    if seconds < _MINUTE.total_seconds():
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def ago(then: datetime, now: datetime) -> str:
    """A moment as people speak of it. The page's script writes the same, see ``app.js``."""
    passed = now - then
    if passed < timedelta(seconds=1):
        return "now"
    if passed < _MINUTE:
        return f"{passed.seconds} s ago"
    if passed < _HOUR:
        return f"{passed.seconds // 60} min ago"
    if passed < _DAY:
        return f"{passed.seconds // 3600} h ago"
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M}"


def due(then: datetime, now: datetime) -> str:
    """A moment to come as people speak of it. The page's script writes the same, see ``app.js``."""
    left = then - now
    if left < timedelta(seconds=1):
        return "now"
    return f"in {left.seconds} s" if left < _MINUTE else f"in {int(left / _MINUTE)} min"


def stamp(moment: datetime) -> str:
    """A moment to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(moment: datetime) -> str:
    """A moment for programs."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def size(value: int) -> str:
    """A number of bytes."""
    amount = float(value)
    for unit in ("bytes", "kB", "MB"):
        if amount < _KB:
            return f"{value} bytes" if unit == "bytes" else f"{amount:.0f} {unit}"
        amount /= _KB
    return f"{amount:.1f} GB"


def noisiest(channels: Iterable[ChannelStatistics]) -> float | None:
    """The highest noise floor among channels in dBFS; None where none has one."""
    floors = (channel.noise_floor_dbfs for channel in channels)
    return max((floor for floor in floors if floor is not None), default=None)


def short(digest: str) -> str:
    """The beginning of a digest, enough to tell two apart."""
    return digest if len(digest) <= _SHORT_DIGEST_CHARS else f"{digest[:_SHORT_DIGEST_CHARS]}…"


def revision(value: Any) -> str:
    """Changes whenever what is shown of the value changes."""
    text = value.model_dump_json() if isinstance(value, BaseModel) else repr(value)
    return blake2s(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def coded(text: str) -> Markup:
    """Prose in which `names` stand between backticks; one without its fellow is just a sign."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def call_address(call: CallState) -> str:
    """The page of a row: of this very result, or the rejected event's place on its call's page."""
    if call.call_id is None:
        raise ValueError("a rejected event without a call id has no page")
    query = {"tenant": call.tenant_id, "result": str(call.result_id) if call.result_id else None}
    anchor = f"#rejected-{call.rejected_id}" if call.rejected_id else ""
    return f"/calls/{quote(call.call_id, safe='')}{_query(query)}{anchor}"


def status_address(call: CallState) -> str:
    """What programs are told of the same call."""
    result = str(call.result_id) if call.result_id else None
    return (
        f"/status/{quote(call.call_id or '', safe='')}{_query({'tenant': call.tenant_id, 'result': result})}"
    )


def tenant_address(tenant_id: str) -> str:
    """The list of a tenant's calls."""
    return "/" + _query({"tenant": tenant_id})


def list_address(query: BaseModel, **changes: Any) -> str:
    """The list with the same filters but for ``changes``."""
    defaults = {name: field.default for name, field in type(query).model_fields.items()}
    asked = {**query.model_dump(), "cursor": None, "fragment": None, **changes}
    return "/" + _query({name: value for name, value in asked.items() if value != defaults[name]})


def _query(pairs: dict[str, Any]) -> str:
    given = {
        name: iso(value) if isinstance(value, datetime) else value
        for name, value in pairs.items()
        if value is not None
    }
    return f"?{urlencode(given)}" if given else ""
