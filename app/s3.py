"""S3: addresses signed by the minio client, bytes moved by httpx, so that every step is asynchronous and bounded."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import httpx
import minio.error
import urllib3
from minio import Minio

from agents.errors import Outage
from agents.ports import ObjectRef

T = TypeVar("T")

_CHUNK_BYTES = 256 * 1024
_SIGNED_FOR = timedelta(minutes=15)
_HTTP_NOT_IMPLEMENTED, _HTTP_PRECONDITION_FAILED = 501, 412


@dataclass(frozen=True, kw_only=True)
class S3Config:
    """Where an S3 store is and who asks.

    Args:
        part: the store as people call it: ``S3 (outputs)``.
        endpoint: ``http://host:port`` or ``https://host``.
        conditional_puts: whether the store heeds ``If-None-Match``: MinIO and AWS do, rclone does not.
    """

    part: str
    endpoint: str
    region: str
    access_key: str | None
    secret_key: str | None
    conditional_puts: bool = True


class S3Error(Exception):
    """An answer of the store that is not a success.

    Args:
        status: HTTP status.
        code: the store's own code, ``NoSuchKey``; empty where it gave none.
    """

    def __init__(self, part: str, status: int, code: str, what: str) -> None:
        super().__init__(f"{part} answered {status} {code} to {what}".replace("  ", " "))
        self.part = part
        self.status = status
        self.code = code

    @property
    def is_outage(self) -> bool:
        """Whether the store itself is unwell, or its credentials are wrong for everybody."""
        return self.status >= 500 or self.status == 429 or self.code in _CREDENTIAL_CODES  # noqa: PLR2004


_CREDENTIAL_CODES = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "ExpiredToken", "InvalidTokenId"}
)


class S3Client:
    """One S3 store. Every method raises Outage where the store is away, and S3Error for what it refuses."""

    def __init__(self, config: S3Config, http: httpx.AsyncClient) -> None:
        self.config = config
        self._http = http
        endpoint = urlsplit(config.endpoint)
        self._minio = Minio(
            endpoint.netloc,
            access_key=config.access_key,
            secret_key=config.secret_key,
            secure=endpoint.scheme == "https",
            # With a region given, signing asks nobody.
            region=config.region,
            http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=5.0, read=10.0), retries=False),
        )

    def signed(self, method: str, bucket: str, key: str) -> str:
        """A signed address for one request: a secret for 15 minutes, never to be logged."""
        if self.config.access_key is None or self.config.secret_key is None:
            raise Outage(
                self.config.part, "no credentials are set: set CLEARCALL_S3_ACCESS_KEY and _SECRET_KEY"
            )
        return self._minio.get_presigned_url(method, bucket, key, expires=_SIGNED_FOR)

    async def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it is there."""
        if not await self.has_bucket(bucket):
            try:
                await self._ask(lambda: self._minio.make_bucket(bucket), f"make bucket {bucket!r}")
            except (S3Error, Outage):
                # Stores have many ways to say that somebody made it just now.
                if not await self.has_bucket(bucket):
                    raise

    async def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket is there and may be seen."""
        return await self._ask(lambda: self._minio.bucket_exists(bucket), f"look at bucket {bucket!r}")

    async def put(self, bucket: str, key: str, path: Path, *, media_type: str, only_new: bool) -> bool:
        """Store a file whole; with ``only_new``, False where the key is taken.

        A store without conditional puts is asked first: there, of two who store at the same moment the later wins.
        """
        what = f"store {bucket}/{key}"
        md5, size_bytes = await asyncio.to_thread(_md5_of, path)
        headers = {"Content-Type": media_type, "Content-MD5": md5, "Content-Length": str(size_bytes)}
        if only_new and self.config.conditional_puts:
            headers["If-None-Match"] = "*"
        elif only_new and await self._has_object(bucket, key):
            return False
        response = await self._request(
            "PUT", self.signed("PUT", bucket, key), what, headers=headers, content=_chunks(path)
        )
        if only_new and response.status_code == _HTTP_PRECONDITION_FAILED:
            return False
        if only_new and response.status_code == _HTTP_NOT_IMPLEMENTED:
            if await self._has_object(bucket, key):
                return False
            return await self.put(bucket, key, path, media_type=media_type, only_new=False)
        self._check(response, what)
        return True

    async def _has_object(self, bucket: str, key: str) -> bool:
        what = f"look at {bucket}/{key}"
        response = await self._request("HEAD", self.signed("HEAD", bucket, key), what)
        if response.is_client_error:
            return (
                False  # or no bucket, or no right: this answer has no body that says so, that of the put will
            )
        self._check(response, what)
        return True

    async def digest(self, bucket: str, key: str) -> tuple[str, int]:
        """SHA-256 and length of what lies under the key."""
        what = f"read {bucket}/{key}"
        digest, size_bytes = hashlib.sha256(), 0
        try:
            async with self._http.stream("GET", self.signed("GET", bucket, key)) as response:
                if not response.is_success:
                    await response.aread()
                    self._check(response, what)
                async for chunk in response.aiter_raw(_CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += len(chunk)
        except httpx.HTTPError as error:
            raise Outage(self.config.part, _reason(error, self.config.endpoint)) from error
        return digest.hexdigest(), size_bytes

    def refusal(self, status: int, body: bytes, what: str) -> S3Error:
        """The store's refusal, read from its answer."""
        return S3Error(self.config.part, status, _code(body), what)

    async def _ask(self, question: Callable[[], T], what: str) -> T:
        """Ask by the minio client, in a thread: only for buckets, where no bytes are moved."""
        try:
            return await asyncio.to_thread(question)
        except minio.error.S3Error as error:
            raise self._refused(error.response.status, error.code or "", what) from error
        except (minio.error.MinioException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise Outage(
                self.config.part, f"could not {what}: {_first_line(error)} ({self.config.endpoint})"
            ) from error

    async def _request(
        self,
        method: str,
        address: str,
        what: str,
        *,
        headers: dict[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
    ) -> httpx.Response:
        try:
            return await self._http.request(method, address, headers=headers, content=content)
        except httpx.HTTPError as error:
            raise Outage(
                self.config.part, f"could not {what}: {_reason(error, self.config.endpoint)}"
            ) from error

    def _check(self, response: httpx.Response, what: str) -> None:
        if response.is_success:
            return
        raise self._refused(response.status_code, _code(response.content), what)

    def _refused(self, status: int, code: str, what: str) -> S3Error | Outage:
        error = S3Error(self.config.part, status, code, what)
        return Outage(self.config.part, str(error)) if error.is_outage else error


class S3ObjectStore:
    """See ``agents.ports.ObjectStore``: outputs in one bucket."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def put(self, key: str, path: Path, *, sha256: str, media_type: str) -> ObjectRef:
        """Store the file whole under the key; what already lies there stays, and is what the answer describes."""
        url = f"s3://{self._bucket}/{quote(key, safe='/:@._-')}"
        try:
            if await self._client.put(self._bucket, key, path, media_type=media_type, only_new=True):
                size_bytes = path.stat().st_size  # noqa: ASYNC240  (read a moment ago)
                return ObjectRef(url=url, sha256=sha256, bytes=size_bytes)
            # An earlier attempt stored it. The same chain gives the same bytes on the same kind of machine; where
            # it does not, the object that consumers may already have read is the one that counts.
            there, size_bytes = await self._client.digest(self._bucket, key)
        except S3Error as error:
            # Our own bucket refuses us: no call's fault, and nothing that another call would be spared.
            raise Outage(self._client.config.part, str(error)) from error
        return ObjectRef(url=url, sha256=there, bytes=size_bytes)


def _md5_of(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return b64encode(digest.digest()).decode("ascii"), file.tell()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _code(body: bytes) -> str:
    try:
        found = ElementTree.fromstring(body[:65536]).findtext("Code")  # noqa: S314  (from our own store)
    except ElementTree.ParseError:
        return ""
    return found or ""


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _reason(error: httpx.HTTPError, endpoint: str) -> str:
    return f"{str(error) or type(error).__name__} ({endpoint})"
