"""From an event to a Kafka message: CloudEvents binary mode."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from cloudevents.core.bindings.kafka import to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from schemas.outgoing import AnyOutbound, CallCleaned, CallErased, CallFailed, CallRejected

TopicSuffix = Literal["call.cleaned", "call.failed", "call.rejected", "call.erased"]
"""The topic's name after the deployment's own prefix; also the CloudEvents type."""

_CONTENT_TYPE: Final = "application/json"


@dataclass(frozen=True, kw_only=True)
class OutgoingEvent:
    """A message that is ready to be sent."""

    topic_suffix: TopicSuffix
    """The topic, without the deployment's prefix."""
    event_id: str
    """The same at every sending; also `ce_id`."""
    key: bytes | None
    """``tenant/call``; None: any partition will do."""
    value: bytes
    """The event as compact JSON in UTF-8."""
    headers: tuple[tuple[str, bytes], ...]
    """``ce_…``, ``content-type`` and, where there is one, ``traceparent``."""


def encode(
    event: AnyOutbound,
    *,
    source: str,
    traceparent: str | None = None,
) -> OutgoingEvent:
    """Write an event as a message; the same event gives the same bytes.

    Parameters
    ----------
    event
        What is to be told.
    source
        Which deployment speaks (`ce_source`): a URI reference, as in ``/clearcall/production``.
    traceparent
        Trace context of the message that the event answers; passed on, also as the CloudEvents extension.
    """
    value = event.model_dump_json().encode("utf-8")
    suffix, happened_at = _suffix_and_time(event)
    attributes: dict[str, object] = {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": source,
        "type": suffix,
        "subject": _subject(event),
        "time": happened_at,
        "datacontenttype": _CONTENT_TYPE,
    }
    if traceparent:
        attributes["traceparent"] = traceparent
    message = to_binary(CloudEvent(attributes, value), JSONFormat(), lambda _: _key(event))
    headers = [*message.headers.items()]
    if traceparent:
        headers.append(("traceparent", traceparent.encode("ascii")))
    return OutgoingEvent(
        topic_suffix=suffix,
        event_id=str(event.event_id),
        key=_key(event),
        value=message.value,
        headers=tuple(headers),
    )


def _suffix_and_time(
    event: AnyOutbound,
) -> tuple[TopicSuffix, datetime]:
    match event:
        case CallCleaned():
            return "call.cleaned", event.cleaned_at
        case CallFailed():
            return "call.failed", event.failed_at
        case CallRejected():
            return "call.rejected", event.rejected_at
        case CallErased():
            return "call.erased", event.erased_at


def _key(event: AnyOutbound) -> bytes | None:
    if isinstance(event, CallRejected):
        return None
    return f"{event.tenant_id}/{event.call_id}".encode("ascii")


def _subject(event: AnyOutbound) -> str:
    if isinstance(event, CallRejected) and not all(event.identity):
        return f"{event.topic}/{event.partition}/{event.offset}"
    return str(event.identity)
