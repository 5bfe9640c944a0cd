"""Answers for programs."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from aiohttp import web

from app.web.context import Context, json_answer
from app.web.errors import PartAway, parse_query
from app.web.models import Alive, CallQuery, CallsQuery, Health, PartState, Readiness

_HEALTH_TIMEOUT_S = 15.0


async def list_calls(context: Context, request: web.Request) -> web.StreamResponse:
    """Results and rejected events, newest first."""
    query = parse_query(CallsQuery, request)
    return json_answer(await context.calls.list_calls(query.filter()))


async def call_status(context: Context, request: web.Request) -> web.StreamResponse:
    """One call."""
    query = parse_query(CallQuery, request)
    calls = context.calls
    return json_answer(
        await calls.get_call(request.match_info["call_id"], query.tenant, result_id=query.result)
    )


async def livez(_context: Context, _request: web.Request) -> web.StreamResponse:
    """The process answers."""
    return json_answer(Alive())


async def readyz(context: Context, _request: web.Request) -> web.StreamResponse:
    """The worker can serve: raises PartAway where it cannot."""
    async with asyncio.timeout(_HEALTH_TIMEOUT_S):
        part = PartState.model_validate(await context.services.ready())
    if not part.ok:
        raise PartAway(part)
    _ = context.calls  # Postgres may be there, and this worker not have got to it yet
    return json_answer(Readiness(part=part))


async def health(context: Context, _request: web.Request) -> web.StreamResponse:
    """Each part with its state; the answer's own status is 200 whatever they are."""
    async with asyncio.timeout(_HEALTH_TIMEOUT_S):
        parts = tuple(PartState.model_validate(part) for part in await context.services.health())
    return json_answer(Health(ok=all(part.ok for part in parts), parts=parts), status=HTTPStatus.OK)


async def metrics(context: Context, _request: web.Request) -> web.StreamResponse:
    """Prometheus text."""
    body, content_type = await context.services.exposition()
    return web.Response(body=body, headers={"Content-Type": content_type})
