"""Every address of the HTTP interface, declared once: registered here, described by ``openapi``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler as AiohttpHandler
from aiohttp.typedefs import Middleware

from app.calls import CallDetail, CallPage
from app.web import api, pages
from app.web.context import Content, Context, Route
from app.web.errors import problem_of
from app.web.models import (
    Alive,
    CallQuery,
    CallsQuery,
    Health,
    Problem,
    Readiness,
)
from app.web.openapi import openapi_document
from app.web.rendering import Templates
from app.web.services import WebServices
from app.web.static_files import PATH as STATIC_PATH
from app.web.static_files import StaticFiles

PROBLEM_TYPE: Final = "application/problem+json"

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def _json(model: type[CallDetail | CallPage | Alive | Readiness | Health], meaning: str) -> Content:
    return Content(media_type="application/json", meaning=meaning, model=model)


def _problem(meaning: str) -> Content:
    return Content(media_type=PROBLEM_TYPE, meaning=meaning, model=Problem)


def _html(meaning: str) -> Content:
    return Content(media_type="text/html", meaning=meaning)


_BAD = _problem("A parameter cannot be used; `parameter` says which.")
_AWAY = _problem("A part that the answer needs is not there.")
_ONE_CALL: Final = {
    200: _json(CallDetail, "The newest result of the call's newest recording."),
    400: _BAD,
    404: _problem("Nothing is known of that call."),
    409: _problem("Several tenants have a call of that id; `tenants` lists them."),
    503: _AWAY,
}


async def _describe(_context: Context, _request: web.Request) -> web.StreamResponse:
    return web.json_response(openapi_document(ROUTES))


async def _docs(context: Context, _request: web.Request) -> web.StreamResponse:
    return context.page("docs.html", document=openapi_document(ROUTES))


ROUTES: Final = (
    Route(
        path="/",
        name="statusPage",
        summary="The status table as a page",
        handler=pages.table,
        query=CallsQuery,
        answers={
            200: _html("The page."),
            400: _html("A parameter cannot be used."),
            503: _html("Not ready."),
        },
        page=True,
    ),
    Route(
        path="/calls/{call_id}",
        name="callPage",
        summary="One call as a page",
        handler=pages.call,
        query=CallQuery,
        answers={
            200: _html("The page."),
            400: _html("A parameter cannot be used."),
            404: _html("Nothing is known of that call."),
            409: _html("Several tenants have a call of that id."),
            503: _html("Not ready."),
        },
        page=True,
    ),
    Route(
        path="/status/{call_id}",
        name="callStatus",
        summary="One call: where it is, what was measured, where the outputs are",
        handler=api.call_status,
        query=CallQuery,
        answers=_ONE_CALL,
    ),
    Route(
        path="/api/v1/calls",
        name="listCalls",
        summary="Results and rejected events, newest first, in pages",
        handler=api.list_calls,
        query=CallsQuery,
        answers={200: _json(CallPage, "A page of the list."), 400: _BAD, 503: _AWAY},
    ),
    Route(
        path="/api/v1/calls/{call_id}",
        name="getCall",
        summary="The same as /status/{call_id}",
        handler=api.call_status,
        query=CallQuery,
        answers=_ONE_CALL,
    ),
    Route(
        path="/livez",
        name="livez",
        summary="The process is alive",
        handler=api.livez,
        answers={200: _json(Alive, "It is.")},
    ),
    Route(
        path="/readyz",
        name="readyz",
        summary="The worker can serve: Postgres is reachable and its schema the newest",
        handler=api.readyz,
        answers={200: _json(Readiness, "It can."), 503: _problem("It cannot; `part` says why.")},
    ),
    Route(
        path="/health",
        name="health",
        summary="Each part with its state; 200 whatever they are",
        handler=api.health,
        answers={200: _json(Health, "The parts."), 503: _problem("The parts take too long to answer.")},
    ),
    Route(
        path="/metrics",
        name="metrics",
        summary="Metrics for Prometheus",
        handler=api.metrics,
        answers={200: Content(media_type="text/plain", meaning="Prometheus text.")},
    ),
    Route(
        path="/openapi.json",
        name="openapi",
        summary="This description",
        handler=_describe,
        answers={200: Content(media_type="application/json", meaning="OpenAPI 3.1.")},
    ),
    Route(
        path="/docs",
        name="docs",
        summary="This description as a page",
        handler=_docs,
        answers={200: _html("The page.")},
        page=True,
    ),
)


def add_routes(web_app: web.Application, services: WebServices) -> None:
    """Add every page and answer to an aiohttp application that has not been started."""
    static_files = StaticFiles()
    context = Context(services=services, templates=Templates(static_files))
    for route in ROUTES:
        web_app.router.add_get(route.path, _answering(context, route))
    web_app.router.add_get(STATIC_PATH, static_files.serve)
    web_app.middlewares.append(_telling_problems(context))
    web_app.on_response_prepare.append(_secure)


def _answering(context: Context, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await route.handler(context, request)
        except Exception as error:  # noqa: BLE001  (told as a problem, and logged where nobody foresaw it)
            return await _tell(context, error, request, as_page=route.page)

    return answer


def _telling_problems(context: Context) -> Middleware:
    """Tell what no route of ours answers for: addresses that are none, methods that are not served."""

    @web.middleware
    async def tell(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            wants_page = "text/html" in request.headers.get("Accept", "") and not request.path.startswith(
                "/api/"
            )
            response = await _tell(context, error, request, as_page=wants_page)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response

    return tell


async def _tell(context: Context, error: Exception, request: web.Request, *, as_page: bool) -> web.Response:
    problem = problem_of(error)
    if as_page:
        response = await pages.problem_page(context, problem, request)
    else:
        body = problem.model_dump_json(exclude_none=True).encode()
        response = web.Response(body=body, status=problem.status, content_type=PROBLEM_TYPE)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "2"
    return response


async def _secure(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers[name] = value
    # Calls are nobody's but the reader's; only our own static files say otherwise.
    response.headers.setdefault("Cache-Control", "no-store")
