"""Which recordings a tenant may name: default deny."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

SCHEMES = ("s3", "https", "http", "file")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A recording's address taken apart: ``scheme://authority/path``.

    ``authority`` is the bucket for ``s3``, ``host:port`` for ``http`` and ``https``, empty for ``file``.
    ``path`` is percent-decoded but for ``s3``, whose keys are taken as they stand.
    """

    scheme: str
    authority: str
    path: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take a URL apart; raises ValueError, with the reason, for one that no rule could allow."""
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        if scheme not in SCHEMES:
            raise ValueError(f"the scheme must be one of {', '.join(SCHEMES)}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("user info is not allowed in an address")
        if scheme == "s3":
            # An S3 key may hold '?' and '#': whatever follows the bucket is the key.
            bucket, _, key = url[len("s3://") :].partition("/")
            return cls(scheme, bucket, _plain_path("/" + key))
        if scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise ValueError("a file address names no host")
            return cls(scheme, "", _plain_path(unquote(parts.path)))
        if not parts.hostname:
            raise ValueError("the address names no host")
        port = _DEFAULT_PORTS[scheme] if parts.port is None else parts.port
        return cls(
            scheme, f"{parts.hostname.lower().rstrip('.')}:{port}", _plain_path(unquote(parts.path or "/"))
        )


def _plain_path(path: str) -> str:
    """Refuse what a server or a file system could read as another path than the one compared here."""
    if "\\" in path or "%2e" in path.lower() or "%2f" in path.lower() or "\x00" in path:
        raise ValueError("the path holds characters that could hide another path")
    # What follows ';' is a parameter to some servers, and '..;' is '..' to them.
    if any(segment.partition(";")[0] in (".", "..") for segment in path.split("/")):
        raise ValueError("the path holds '.' or '..'")
    return path


@dataclass(frozen=True)
class SourceRule:
    """One allowed prefix; it covers whole path segments: ``s3://b/acme`` does not cover ``s3://b/acme-2/x``."""

    address: Address

    @classmethod
    def parse(cls, rule: str) -> Self:
        """Read ``s3://bucket/prefix`` or ``https://host/prefix``; raises ValueError with the rule and the reason."""
        try:
            address = Address.parse(rule)
        except ValueError as error:
            raise ValueError(f"SOURCES: {rule!r}: {error}") from None
        if address.scheme != "file" and not address.authority:
            raise ValueError(f"SOURCES: {rule!r}: a bucket or host is missing")
        if address.scheme == "file" and address.path.strip("/") == "":
            raise ValueError(f"SOURCES: {rule!r}: name a folder, not the whole disk")
        return cls(address)

    def covers(self, address: Address) -> bool:
        """Whether the address lies at or below this rule's prefix."""
        if (address.scheme, address.authority) != (self.address.scheme, self.address.authority):
            return False
        prefix = self.address.path.rstrip("/")
        return address.path == prefix or address.path.startswith(prefix + "/")


class SourcePolicy:
    """Decides whether a tenant may name an address; the output bucket is never a source."""

    def __init__(self, sources: Mapping[str, Sequence[str]], *, output_bucket: str) -> None:
        self._rules = {
            tenant: tuple(SourceRule.parse(rule) for rule in rules) for tenant, rules in sources.items()
        }
        self._output_bucket = output_bucket

    def refusal(self, tenant_id: str, url: str) -> str | None:
        """Why this tenant may not name this address, as a sentence; None if it may."""
        try:
            address = Address.parse(url)
        except ValueError as error:
            return f"The recording's address is refused: {error}."
        if address.scheme == "s3" and address.authority == self._output_bucket:
            return f"The bucket {address.authority!r} holds Clearcall's outputs and is never a source."
        rules = self._rules.get(tenant_id, ()) + self._rules.get("*", ())
        if any(rule.covers(address) for rule in rules):
            return None
        where = f"{address.scheme}://{address.authority}"
        return (
            f"Tenant {tenant_id!r} may not name recordings at {where}: "
            "no entry of CLEARCALL_SOURCES for this tenant (or '*') covers the address."
        )
