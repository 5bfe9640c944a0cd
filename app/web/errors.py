"""What goes wrong with a request, as a problem document (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar

import structlog
from aiohttp import web
from pydantic import ValidationError

from agents.errors import Outage
from app.calls import AmbiguousTenant, CallNotFound, InvalidCursor
from app.web.models import PartState, Problem, Query
from app.web.services import NotReady

log = structlog.get_logger(__name__)

_Query = TypeVar("_Query", bound=Query)

# pydantic speaks of inputs; people speak of what they gave.
_SAID_PLAINLY = (
    ("Input should be a valid integer, unable to parse string as an integer", "must be a whole number"),
    ("Unable to parse input string as an integer, exceeded maximum size", "must be a whole number"),
    ("Input should be a valid UUID", "must be a UUID"),
    ("Input should ", "must "),
    ("String should ", "must "),
    ("Value should ", "must "),
)


class BadParameter(Exception):
    """A parameter that cannot be used."""

    def __init__(self, parameter: str | None, detail: str) -> None:
        super().__init__(detail)
        self.parameter = parameter


class PartAway(Exception):
    """A part that the answer needs is not there."""

    def __init__(self, part: PartState) -> None:
        super().__init__(f"{part.name} at {part.address} {part.detail}. {part.what_to_do}".strip())
        self.part = part


def parse_query(model: type[_Query], request: web.Request) -> _Query:
    """The parameters of a request; an empty one, as forms send them, is one not given. Raises BadParameter."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in model.model_fields or not value:
            continue
        if name in given:
            raise BadParameter(name, f"{name} is given more than once.")
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at_fault = str(first["loc"][0]) if first["loc"] else None
        raise BadParameter(at_fault, f"{at_fault or ''} {_sentence(first['msg'])}.".strip()) from error


def problem_of(error: Exception) -> Problem:
    """What to answer for an error that a handler raised; what nobody foresaw is logged and told without details."""
    match error:
        case BadParameter():
            return _problem(
                HTTPStatus.BAD_REQUEST, "A parameter cannot be used", error, parameter=error.parameter
            )
        case InvalidCursor():
            return _problem(HTTPStatus.BAD_REQUEST, "A parameter cannot be used", error, parameter="cursor")
        case CallNotFound():
            return _problem(HTTPStatus.NOT_FOUND, "No such call", error)
        case AmbiguousTenant():
            return _problem(
                HTTPStatus.CONFLICT, "Several tenants have a call of this id", error, tenants=error.tenants
            )
        case PartAway():
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready", error, part=error.part)
        case NotReady() | Outage():
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready", error)
        case TimeoutError():
            return Problem(
                title="Not ready",
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                detail="A part that the answer needs takes too long: see /health.",
            )
        case web.HTTPException():
            return _http_problem(error)
    log.error("a page failed inside Clearcall", exc_info=error)
    return Problem(
        title="Clearcall failed",
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        detail="Clearcall itself failed on this request; the worker's log has the details. Please report it.",
    )


def _problem(
    status: HTTPStatus,
    title: str,
    error: Exception,
    *,
    parameter: str | None = None,
    tenants: tuple[str, ...] | None = None,
    part: PartState | None = None,
) -> Problem:
    return Problem(
        title=title, status=status, detail=str(error), parameter=parameter, tenants=tenants, part=part
    )


def _http_problem(error: web.HTTPException) -> Problem:
    details = {
        HTTPStatus.NOT_FOUND: "There is no such page. The calls are at /, the interface is described at /docs.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This address can be read only: use GET.",
    }
    status = HTTPStatus(error.status)
    return Problem(title=status.phrase, status=status, detail=details.get(status, f"{status.description}."))


def _sentence(message: str) -> str:
    for prefix, plainly in _SAID_PLAINLY:
        if message.startswith(prefix):
            rest = message.removeprefix(prefix)
            return plainly if not plainly.endswith(" ") else plainly + rest
    return message
