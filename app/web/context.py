"""What every handler is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel

from app.calls import Calls
from app.web.models import Query
from app.web.rendering import Templates
from app.web.services import WebServices, calls_of


@dataclass(frozen=True, kw_only=True)
class Context:
    """The worker, and the templates of its pages."""

    services: WebServices
    templates: Templates

    @property
    def calls(self) -> Calls:
        """The reading side. Raises NotReady where Postgres has not been there yet."""
        return calls_of(self.services)

    def page(
        self,
        template: str,
        *,
        status: int = HTTPStatus.OK,
        headers: dict[str, str] | None = None,
        **values: object,
    ) -> web.Response:
        """An HTML answer."""
        text = self.templates.render(template, embedded=self.services.embedded, **values)
        return web.Response(text=text, status=status, content_type="text/html", headers=headers)


Handler = Callable[[Context, web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Content:
    """What an answer is made of: a model where it is JSON."""

    media_type: str
    meaning: str
    model: type[BaseModel] | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """One address that can be read: registered and described from the same entry.

    ``page`` says that people read it: what goes wrong is told as a page too.
    """

    path: str
    name: str
    summary: str
    handler: Handler
    answers: dict[int, Content] = field(default_factory=dict)
    query: type[Query] | None = None
    page: bool = False


def json_answer(
    model: BaseModel, *, status: int = HTTPStatus.OK, media_type: str = "application/json"
) -> web.Response:
    """A model as JSON."""
    return web.Response(body=model.model_dump_json().encode(), status=status, content_type=media_type)
