"""Fetches a recording to disk: from where the tenant may name it, capped, hashed on the way, within a deadline."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from agents.errors import CallError, Outage
from agents.ports import Fetched
from app.s3 import S3Client
from app.scratch import PART as SCRATCH
from app.sources import Address, SourcePolicy
from schemas import strip_address

_CHUNK_BYTES = 256 * 1024
_MOST_REDIRECTS = 5
_RETRIABLE_STATUS = frozenset({404, 408, 425, 429})


class RecordingFetcher:
    """See ``agents.ports.Fetcher``."""

    def __init__(
        self,
        *,
        policy: SourcePolicy,
        s3: S3Client,
        http: httpx.AsyncClient,
        max_bytes: int,
        deadline_s: float,
    ) -> None:
        self._policy = policy
        self._s3 = s3
        self._http = http
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s

    async def fetch(self, *, tenant_id: str, url: str, to: Path) -> Fetched:
        """Stream the recording to a file.

        Raises
        ------
            CallError: not allowed, not there, too large, too slow, or refused.
            Outage: our source store or the scratch disk is away.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._fetch(tenant_id, url, to)
        except TimeoutError:
            raise CallError(
                "fetch_timeout",
                f"{strip_address(url)} was not fetched whole within {self._deadline_s:g} s.",
                retriable=True,
            ) from None

    async def _fetch(self, tenant_id: str, url: str, to: Path) -> Fetched:
        for _ in range(_MOST_REDIRECTS + 1):
            self._check_allowed(tenant_id, url)
            scheme = urlsplit(url).scheme.lower()
            if scheme == "file":
                return await asyncio.to_thread(self._copy, tenant_id, url, to)
            async with self._answer(url, scheme) as response:
                if not response.is_redirect:
                    await self._check_answer(response, url, scheme)
                    return await self._save(response, url, to)
                # Followed by hand: every stop must be one that the tenant may name.
                try:
                    url = urljoin(url, response.headers.get("location", ""))
                    leads_to = urlsplit(url).scheme.lower()
                except ValueError:
                    break
                if scheme == "s3" or leads_to not in ("https", "http"):
                    break
        raise CallError(
            "bad_redirect",
            f"{strip_address(url)} was reached by redirects that Clearcall does not follow "
            f"(more than {_MOST_REDIRECTS}, to another scheme, or to no valid address).",
            retriable=False,
        )

    def _check_allowed(self, tenant_id: str, url: str) -> None:
        refusal = self._policy.refusal(tenant_id, url)
        if refusal is not None:
            raise CallError("source_not_allowed", refusal, retriable=False)

    @asynccontextmanager
    async def _answer(self, url: str, scheme: str) -> AsyncIterator[httpx.Response]:
        if scheme == "s3":
            address = Address.parse(url)
            request_url = self._signed(address, url)
        else:
            request_url = url
        try:
            async with self._http.stream(
                "GET", request_url, headers={"Accept-Encoding": "identity"}
            ) as response:
                yield response
        except httpx.InvalidURL as error:
            raise CallError(
                "bad_address", f"{strip_address(url)} is no valid address: {error}", retriable=False
            ) from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            if scheme == "s3":
                raise Outage(self._s3.config.part, f"{reason} ({self._s3.config.endpoint})") from error
            raise CallError(
                "fetch_failed", f"{strip_address(url)} could not be fetched: {reason}.", retriable=True
            ) from error

    def _signed(self, address: Address, url: str) -> str:
        try:
            return self._s3.signed("GET", address.authority, address.path.removeprefix("/"))
        except ValueError as error:
            raise CallError(
                "bad_address", f"{strip_address(url)} names no bucket and key: {error}.", retriable=False
            ) from None

    async def _check_answer(self, response: httpx.Response, url: str, scheme: str) -> None:
        status = response.status_code
        if status == httpx.codes.OK:
            return
        where = strip_address(url)
        if scheme == "s3":
            refused = self._s3.refusal(status, await _beginning(response), f"read {where}")
            if refused.is_outage:
                raise Outage(self._s3.config.part, str(refused)) from refused
            # The object may still be on its way; a bucket or a right does not come by itself.
            raise CallError(
                "source_not_found" if status == httpx.codes.NOT_FOUND else "source_refused",
                f"{where} cannot be read: the store answered {status} {refused.code}".rstrip() + ".",
                retriable=status == httpx.codes.NOT_FOUND and refused.code != "NoSuchBucket",
            )
        raise CallError(
            "source_not_found" if status in (404, 410) else "source_refused",
            f"{where} cannot be read: the server answered {status} {response.reason_phrase}".rstrip() + ".",
            retriable=status in _RETRIABLE_STATUS or status >= 500,  # noqa: PLR2004
        )

    async def _save(self, response: httpx.Response, url: str, to: Path) -> Fetched:
        declared = response.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise self._too_large(url)
        if declared.isdigit():
            _check_disk(int(declared), url, to)
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise CallError(
                "unexpected_encoding",
                f"{strip_address(url)} was sent with content-encoding {encoding!r} although none was asked for.",
                retriable=False,
            )
        digest, size_bytes = hashlib.sha256(), 0
        with _scratch_errors(), to.open("wb") as file:
            async for chunk in response.aiter_raw(_CHUNK_BYTES):
                size_bytes += len(chunk)
                if size_bytes > self._max_bytes:
                    raise self._too_large(url)
                digest.update(chunk)
                file.write(chunk)
        return Fetched(path=to, sha256=digest.hexdigest(), bytes=size_bytes)

    def _copy(self, tenant_id: str, url: str, to: Path) -> Fetched:
        path = Path(unquote(urlsplit(url).path))
        try:
            real = path.resolve(strict=True)
            if not stat.S_ISREG(real.stat().st_mode):
                raise CallError("source_refused", f"{path} is not a regular file.", retriable=False)
            # A link must not lead out of the folder that is allowed.
            self._check_allowed(tenant_id, real.as_uri())
            source = real.open("rb")
        except RuntimeError:
            raise CallError(
                "source_refused", f"{path} is a link that leads to itself.", retriable=False
            ) from None
        except FileNotFoundError:
            raise CallError("source_not_found", f"{path} does not exist.", retriable=True) from None
        except OSError as error:
            raise CallError(
                "source_refused", f"{path} cannot be read: {error.strerror}.", retriable=False
            ) from error
        digest, size_bytes = hashlib.sha256(), 0
        with source, _scratch_errors(), to.open("wb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                size_bytes += len(chunk)
                if size_bytes > self._max_bytes:
                    raise self._too_large(url)
                digest.update(chunk)
                file.write(chunk)
        return Fetched(path=to, sha256=digest.hexdigest(), bytes=size_bytes)

    def _too_large(self, url: str) -> CallError:
        return CallError(
            "too_large",
            f"{strip_address(url)} has more than {self._max_bytes} bytes. "
            "Raise CLEARCALL_MAX_RECORDING_BYTES to take it.",
            retriable=False,
        )


def _check_disk(size_bytes: int, url: str, to: Path) -> None:
    """Refuse what the scratch disk could not hold even if it were empty: waiting for room would never end."""
    disk_bytes = shutil.disk_usage(to.parent).total
    if size_bytes > disk_bytes:
        raise CallError(
            "too_large_for_scratch",
            f"{strip_address(url)} has {size_bytes} bytes, the scratch disk {disk_bytes} in all. "
            "Set CLEARCALL_SCRATCH_DIR to a larger one.",
            retriable=False,
        )


async def _beginning(response: httpx.Response, most_bytes: int = 65536) -> bytes:
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= most_bytes:
            break
    return body[:most_bytes]


@contextmanager
def _scratch_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            raise Outage(SCRATCH, str(error)) from error
        raise
