"""Addresses: what a recording's may be, what is shown of one, and when two are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from schemas import same_source, strip_address
from schemas.addresses import check_address

HTTPS = "https://media.example/calls/c-42.wav"


@pytest.mark.parametrize(
    "address",
    [
        "s3://recordings/acme/c-42.wav",
        "s3://recordings/my call #1?.wav",
        "s3://recordings/приём.wav",
        HTTPS,
        f"{HTTPS}?X-Amz-Signature=abc#t=1",
        "https://media.example",
        "http://[2001:db8::1]:8080/c.wav",
        "http://127.0.0.1:65535/c.wav",
        "https://media.example/a@b.wav",
        "https://media.example/c.wav?mail=a@b",
        "file:///var/spool/c.wav",
        "file://localhost/var/spool/c.wav",
    ],
)
def test_an_address_that_reads_as_one_is_taken_as_it_stands(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "must begin with"),
        ("c-42.wav", "must begin with"),
        ("ftp://host/c.wav", "must begin with"),
        ("HTTPS://host/c.wav", "must begin with"),
        (" https://host/c.wav", "must begin with"),
        ("gopher://host/", "must begin with"),
        ("https:/host/c.wav", "must begin with"),
        ("https://host/c\n.wav", "control characters"),
        ("https://host/c\x7f.wav", "control characters"),
        ("s3://bucket/c\x85.wav", "control characters"),
        ("https://user:secret@host/c.wav", "user name or password"),
        ("https://user@host/c.wav", "user name or password"),
        ("s3://key:secret@bucket/c.wav", "user name or password"),
        ("https://", "name a host"),
        ("https:///c.wav", "name a host"),
        ("https://good.example\\@evil.example/c.wav", "name a host"),
        ("https://host\\c.wav", "name a host"),
        ("https://ho st/c.wav", "name a host"),
        ("https://ho%2fst/c.wav", "name a host"),
        ("https://[::1/c.wav", "name a host"),
        ("https://host:/c.wav", "name a host"),
        ("https://host:99999/c.wav", "port from 1 to 65535"),
        ("https://host:0/c.wav", "port from 1 to 65535"),
        ("https://host:abc/c.wav", "name a host"),
        ("s3://bucket", "bucket and a key"),
        ("s3://bucket/", "bucket and a key"),
        ("s3:///key", "bucket and a key"),
        ("s3://buc ket/key", "bucket and a key"),
        ("file://server/share/c.wav", "whole path"),
        ("file://c.wav", "whole path"),
        ("file:///", "whole path"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_with_the_reason(address: str, why: str) -> None:
    with pytest.raises(PydanticCustomError, match=why):
        check_address(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://b/acme/c.wav", "s3://b/acme/c.wav"),
        (f"{HTTPS}?sig=secret", HTTPS),
        (f"{HTTPS}#secret", HTTPS),
        (f"{HTTPS}?a=1#b?c", HTTPS),
        ("https://user:secret@host/c.wav", "https://host/c.wav"),
        ("https://user:se@cret@host/c.wav", "https://host/c.wav"),
        ("//user:secret@host/c.wav", "//host/c.wav"),
        ("https://host/a//b@c.wav", "https://host/a//b@c.wav"),
        ("https://host:8443/c.wav", "https://host:8443/c.wav"),
        ("", ""),
    ],
)
def test_only_what_holds_no_secret_is_shown(address: str, shown: str) -> None:
    assert strip_address(address) == shown


@given(st.text())
def test_what_is_shown_has_no_query_and_shows_the_same_again(address: str) -> None:
    shown = strip_address(address)
    assert "?" not in shown
    assert "#" not in shown
    assert strip_address(shown) == shown


SIGNED_ANEW = [
    (
        (
            "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A&X-Amz-Date=20261120T100000Z&X-Amz-Expires=60"
            "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=T&X-Amz-Signature=1"
        ),
        (
            "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=B&X-Amz-Date=20261121T100000Z&X-Amz-Expires=90"
            "&X-Amz-SignedHeaders=host&X-Amz-Signature=2"
        ),
    ),
    ("?X-Goog-Credential=A&X-Goog-Signature=1", "?X-Goog-Credential=B&X-Goog-Signature=2"),
    ("?AWSAccessKeyId=A&Expires=1&Signature=1", "?AWSAccessKeyId=A&Expires=2&Signature=2"),
    ("?Expires=1&Signature=1&Key-Pair-Id=K", "?Expires=2&Signature=2&Key-Pair-Id=L"),
    ("?Policy=1&Signature=1&Key-Pair-Id=K", "?Policy=2&Signature=2&Key-Pair-Id=K"),
    ("?sv=2024-11-04&se=1&sr=b&sp=r&sig=1", "?sv=2025-01-05&se=2&sr=b&sp=r&spr=https&sig=2"),
    ("", "?x-amz-signature=1&x-amz-date=2"),
    ("#t=1", "#t=2"),
]


@pytest.mark.parametrize(("first", "second"), SIGNED_ANEW)
def test_an_address_signed_anew_is_the_same_source(first: str, second: str) -> None:
    assert same_source(HTTPS + first, None, HTTPS + second, None)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", "?version=2"),
        ("?version=1", "?version=2"),
        ("?versionId=1&X-Amz-Signature=1", "?versionId=2&X-Amz-Signature=1"),
        ("?response-content-type=a&X-Amz-Signature=1", "?response-content-type=b&X-Amz-Signature=1"),
        # A site's own short names, with no signature beside them.
        ("?sr=8000", "?sr=16000"),
        ("?expires=1", "?expires=2"),
        ("?policy=a", "?policy=b"),
        ("?a=1&b=2", "?b=2&a=1"),
        ("/x", ""),
        ("?raw=", ""),
    ],
)
def test_another_address_is_another_source(first: str, second: str) -> None:
    assert not same_source(HTTPS + first, None, HTTPS + second, None)


def test_an_s3_key_is_compared_as_it_stands() -> None:
    """``?`` and ``#`` may be part of a key, and an s3 address is not signed."""
    assert not same_source("s3://b/c?X-Amz-Signature=1", None, "s3://b/c?X-Amz-Signature=2", None)
    assert not same_source("s3://b/c#1", None, "s3://b/c#2", None)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (None, None, True),
        ("aa", None, True),
        (None, "aa", True),
        ("aa", "AA", True),
        ("aa", "bb", False),
    ],
)
def test_hashes_tell_only_where_both_are_given(first: str | None, second: str | None, same: bool) -> None:
    assert same_source(HTTPS, first, HTTPS, second) is same


@given(st.text(), st.text())
def test_sameness_is_reflexive_and_symmetric(first: str, second: str) -> None:
    a, b = f"{HTTPS}?{first}", f"{HTTPS}?{second}"
    assert same_source(a, None, a, None)
    assert same_source(a, None, b, None) == same_source(b, None, a, None)


def test_more_parameters_than_any_signature_has_are_compared_as_they_stand() -> None:
    many = "?" + "&".join(f"a{number}=1" for number in range(300))
    assert same_source(HTTPS + many, None, HTTPS + many, None)
    assert not same_source(HTTPS + many, None, HTTPS + many + "&sig=1", None)
