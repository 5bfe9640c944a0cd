"""The pages' own style, script and icon, served from memory; their address changes with their content."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2s
from importlib.resources import files
from typing import NamedTuple

from aiohttp import web

PATH = "/static/{name}"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_A_YEAR = "public, max-age=31536000, immutable"


class _StaticFile(NamedTuple):
    body: bytes
    media_type: str
    version: str


class StaticFiles:
    """Every file of the package's folder ``static``; nothing else can be asked for."""

    def __init__(self) -> None:
        self._files = dict(_read())

    def address(self, name: str) -> str:
        """Where a page finds the file."""
        return f"/static/{name}?v={self._files[name].version}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer with the file; raises HTTPNotFound."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        current = request.query.get("v") == file.version
        headers = {"Cache-Control": _A_YEAR if current else "no-cache", "ETag": f'"{file.version}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, content_type=file.media_type, charset="utf-8", headers=headers)


def _read() -> Iterator[tuple[str, _StaticFile]]:
    for file in (files("app.web") / "static").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in _MEDIA_TYPES:
            body = file.read_bytes()
            yield file.name, _StaticFile(body, _MEDIA_TYPES[suffix], blake2s(body, digest_size=8).hexdigest())
