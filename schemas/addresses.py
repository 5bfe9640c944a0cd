"""Addresses of recordings: what one may look like, what may be shown of it, and when two name the same file.

Whether a tenant may name an address is policy and lives elsewhere; here it is only read as text.
"""

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pydantic_core import PydanticCustomError

MAX_ADDRESS_CHARS: Final = 4096
ADDRESS_PATTERN: Final = r"^(s3|https|http|file)://"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_AUTHORITY: Final = re.compile(r"^[a-z][a-z0-9]*://([^/?#\\]*)", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*@")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s\[\]:%@<>\"'{}|^`]+)(?::[0-9]{1,5})?")
_MAX_PORT: Final = 65535

# Query parameters that sign a request, and nothing else: asked again, the same file has other values here.
# A group counts only where its marker is there, so that a site's own `?sp=2` is never put aside.
_SIGNING_PARAMETERS: Final[dict[str, frozenset[str]]] = {
    # AWS Signature Version 4, and Google's V4 of the same design
    "x-amz-signature": frozenset(
        f"x-amz-{name}"
        for name in (
            "algorithm",
            "credential",
            "date",
            "expires",
            "security-token",
            "signature",
            "signedheaders",
        )
    ),
    "x-goog-signature": frozenset(
        f"x-goog-{name}"
        for name in ("algorithm", "credential", "date", "expires", "signature", "signedheaders")
    ),
    # AWS Version 2, Google V2, CloudFront
    "signature": frozenset(
        {
            "awsaccesskeyid",
            "expires",
            "googleaccessid",
            "key-pair-id",
            "policy",
            "signature",
            "x-amz-security-token",
        }
    ),
    # Azure shared access signature
    "sig": frozenset(
        {"sig", "se", "st", "sp", "sv", "sr", "spr", "sip", "ss", "srt", "si"}
        | {"skoid", "sktid", "skt", "ske", "sks", "skv"}
    ),
}


def check_address(address: str) -> str:
    """Give `address` back if it is one that a recording may have, as far as its text tells.

    Raises
    ------
    PydanticCustomError
        Another scheme, a control character, user info, no bucket, key or host.
    """
    if not re.match(ADDRESS_PATTERN, address):
        raise _unfit("must begin with s3://, https://, http:// or file://")
    if _CONTROL.search(address):
        raise _unfit("must not have control characters in it")
    found = _AUTHORITY.match(address)
    authority = found.group(1) if found else ""
    if "@" in authority:
        raise _unfit("must not carry a user name or password; give the credentials to the worker's settings")
    rest = address[len(address.partition("://")[0]) + 3 + len(authority) :]
    _CHECKS[address.partition(":")[0]](authority, rest)
    return address


def strip_address(address: str) -> str:
    """Give the part of an address that may be shown: no query string, no fragment, no user info."""
    return _USER_INFO.sub(r"\1//", re.split(r"[?#]", address, maxsplit=1)[0])


def same_source(url_a: str, sha256_a: str | None, url_b: str, sha256_b: str | None) -> bool:
    """Say whether two events of one recording name the same source.

    They do if their addresses are equal once the parameters that only sign a request (they change whenever
    the publisher signs anew) are put aside, and their hashes do not differ where both are given.
    """
    if sha256_a is not None and sha256_b is not None and sha256_a.lower() != sha256_b.lower():
        return False
    return url_a == url_b or _unsigned(url_a) == _unsigned(url_b)


def _unsigned(address: str) -> tuple[str, list[tuple[str, str]]]:
    if not address.startswith(("https://", "http://")):
        return address, []
    base, _, query = address.partition("#")[0].partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=256)
    except ValueError:  # more parameters than any signature has: compare as it stands
        return address, []
    names = {name.lower() for name, _ in pairs}
    signing = frozenset[str]().union(
        *(group for marker, group in _SIGNING_PARAMETERS.items() if marker in names)
    )
    return base, [(name, value) for name, value in pairs if name.lower() not in signing]


def _check_s3(authority: str, rest: str) -> None:
    if not _BUCKET.fullmatch(authority) or not rest.startswith("/") or len(rest) == 1:
        raise _unfit("must name a bucket and a key, as in s3://bucket/key")


def _check_http(authority: str, rest: str) -> None:
    if not _HOST.fullmatch(authority) or rest.startswith("\\"):
        raise _unfit("must name a host, as in https://host/path")
    try:
        port = urlsplit(f"//{authority}").port
    except ValueError:
        port = -1
    if port is not None and not 0 < port <= _MAX_PORT:
        raise _unfit("must name a host and a port from 1 to 65535, as in https://host:443/path")


def _check_file(authority: str, rest: str) -> None:
    if authority not in ("", "localhost") or not rest.startswith("/") or len(rest) == 1:
        raise _unfit("must name a file of this machine by its whole path, as in file:///path/call.wav")


_CHECKS: Final = {"s3": _check_s3, "https": _check_http, "http": _check_http, "file": _check_file}


def _unfit(what: str) -> PydanticCustomError:
    return PydanticCustomError("address", what)
