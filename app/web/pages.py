"""Answers for people."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from aiohttp import web

from agents.status import CallStatus
from app.calls import CallPage
from app.web.context import Context
from app.web.errors import parse_query
from app.web.models import CallPageQuery, Problem, TableQuery
from app.web.rendering import revision
from app.web.services import PartReport

# Somebody looks at a page that waits for this.
_PARTS_TIMEOUT_S = 3.0


async def table(context: Context, request: web.Request) -> web.StreamResponse:
    """The status table, or what changes of it."""
    query = parse_query(TableQuery, request)
    calls = context.calls
    page = await calls.list_calls(query.filter())
    # With a filter besides the status, numbers of all calls would speak of other calls than the table.
    counts = None if query.narrows else await calls.counts()
    etag = _etag(page, counts)
    if _is_known(request, etag):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    return context.page(
        "_calls.html" if query.fragment else "calls.html",
        headers={"ETag": etag},
        query=query,
        page=page,
        counts=counts,
    )


async def call(context: Context, request: web.Request) -> web.StreamResponse:
    """One call's page, or what changes of it."""
    query = parse_query(CallPageQuery, request)
    calls = context.calls
    shown = await calls.get_call(request.match_info["call_id"], query.tenant, result_id=query.result)
    history = await calls.call_history(request.match_info["call_id"], shown.tenant_id)
    etag = _etag(shown, history)
    if _is_known(request, etag):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
    return context.page(
        "_call.html" if query.fragment else "call.html", headers={"ETag": etag}, call=shown, history=history
    )


async def problem_page(context: Context, problem: Problem, request: web.Request) -> web.Response:
    """What went wrong, as a page; where a part is awaited it says which, and looks again by itself."""
    awaited = problem.status == HTTPStatus.SERVICE_UNAVAILABLE
    return context.page(
        "problem.html",
        status=problem.status,
        problem=problem,
        path=request.rel_url.raw_path,
        awaited=awaited,
        parts=await _missing_parts(context) if awaited else (),
    )


async def _missing_parts(context: Context) -> tuple[PartReport, ...]:
    try:
        async with asyncio.timeout(_PARTS_TIMEOUT_S):
            return tuple(part for part in await context.services.health() if not part.ok)
    except TimeoutError:
        return ()


def _etag(shown: CallPage | object, beside: dict[CallStatus, int] | object) -> str:
    # Times passed are no part of it: the page's script goes on counting them.
    return f'W/"{revision(shown)}{revision(beside)}"'


def _is_known(request: web.Request, etag: str) -> bool:
    return "fragment" in request.query and request.headers.get("If-None-Match") == etag
