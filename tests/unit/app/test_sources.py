"""Which recordings a tenant may name: nothing, unless a rule says so, and then what the rule says and no more."""

from __future__ import annotations

import posixpath
from urllib.parse import quote, unquote, urlsplit

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.sources import Address, SourcePolicy, SourceRule

OUTPUTS = "clearcall"


def policy(**rules: list[str]) -> SourcePolicy:
    return SourcePolicy(
        {tenant.replace("everybody", "*"): told for tenant, told in rules.items()}, output_bucket=OUTPUTS
    )


def may(url: str, *rules: str) -> bool:
    return policy(acme=list(rules)).refusal("acme", url) is None


# What addresses are made of, and what has ever helped one to be read in two ways.
PIECES = [
    "s3", "S3", "https", "http", "file", "ftp", "://", ":", "/", "//", "\\", "@", "?", "#", "%", ";", ".", "..",
    "%2e", "%2E%2e", "%252e", "%2f", "%5c", "%00", "\x00", "\t", "\n", " ", "acme", "acme-2", "other", "ok.example",
    "evil.example", "localhost", "127.0.0.1", "[::1]", "443", "8443", "0", "user:pass", "c-1.wav", "\u2100", "ü",
]  # fmt: skip
urls = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
near_urls = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(
            [
                "https://ok.example",
                "https://ok.example:443",
                "s3://bucket",
                "file://",
                "http://ok.example:8443",
            ]
        ),
        st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    ),
)


class TestDefaultDeny:
    @given(urls | near_urls)
    def test_without_a_rule_nothing_may_be_named(self, url: str) -> None:
        assert policy().refusal("acme", url) is not None
        assert policy(other=["https://ok.example/", "s3://bucket/"]).refusal("acme", url) is not None

    @given(urls | near_urls)
    def test_an_answer_is_always_given(self, url: str) -> None:
        """Whatever is asked: a sentence or None, and no error."""
        refusal = policy(acme=["https://ok.example/acme", "s3://bucket/acme", "file:///srv/calls"]).refusal(
            "acme", url
        )

        assert refusal is None or refusal.endswith(".")

    def test_rules_are_a_tenants_own_or_everybodys(self) -> None:
        both = policy(acme=["s3://acme-calls"], everybody=["s3://shared"])

        assert both.refusal("acme", "s3://acme-calls/c.wav") is None
        assert both.refusal("acme", "s3://shared/c.wav") is None
        assert both.refusal("other", "s3://shared/c.wav") is None
        refusal = both.refusal("other", "s3://acme-calls/c.wav")
        assert refusal is not None
        assert "Tenant 'other' may not name recordings at s3://acme-calls" in refusal
        assert "CLEARCALL_SOURCES" in refusal

    def test_a_tenant_called_like_everybody_is_nobody_special(self) -> None:
        assert policy(acme=["s3://acme-calls"]).refusal("*", "s3://acme-calls/c.wav") is not None


class TestOutputs:
    @pytest.mark.parametrize("url", ["s3://clearcall/acme/c-1.wav", "S3://clearcall/acme/c-1.wav"])
    def test_are_never_a_source(self, url: str) -> None:
        refusal = policy(everybody=["s3://clearcall/", "s3://clearcall/acme"]).refusal("acme", url)

        assert refusal is not None
        assert "never a source" in refusal


class TestPrefixes:
    @pytest.mark.parametrize(
        ("rule", "url", "covered"),
        [
            ("s3://b/acme", "s3://b/acme/c.wav", True),
            ("s3://b/acme/", "s3://b/acme/c.wav", True),
            ("s3://b/acme", "s3://b/acme", True),
            ("s3://b/acme", "s3://b/acme-2/c.wav", False),
            ("s3://b/acme/", "s3://b/acme-2/c.wav", False),
            ("s3://b/acme", "s3://b/acm", False),
            ("s3://b", "s3://b/any/c.wav", True),
            ("s3://b", "s3://bb/c.wav", False),
            ("s3://b/acme", "s3://b/ACME/c.wav", False),
            ("s3://b/acme", "s3://b//acme/c.wav", False),
            ("https://ok.example/calls", "https://ok.example/calls/2026/c.wav?sig=1#x", True),
            ("https://ok.example/calls", "https://ok.example/calls-2/c.wav", False),
            ("https://ok.example", "https://ok.example.evil.example/c.wav", False),
            ("https://ok.example", "https://evil.example/ok.example", False),
            ("https://ok.example", "http://ok.example/c.wav", False),
            ("https://ok.example", "https://ok.example:443/c.wav", True),
            ("https://ok.example", "https://ok.example:8443/c.wav", False),
            ("https://ok.example", "https://ok.example:0/c.wav", False),
            ("https://ok.example:8443", "https://ok.example:8443/c.wav", True),
            ("https://ok.example:8443", "https://ok.example/c.wav", False),
            ("https://OK.example", "https://ok.EXAMPLE./c.wav", True),
            ("https://ok.example/Calls", "https://ok.example/calls/c.wav", False),
            ("https://ok.example/a%20b", "https://ok.example/a b/c.wav", True),
            ("https://ok.example/calls", "https://ok.example/%63alls/c.wav", True),
            ("s3://b/calls", "s3://b/%63alls/c.wav", False),  # an S3 key is taken as it stands
            ("file:///srv/calls", "file:///srv/calls/c.wav", True),
            ("file:///srv/calls", "file://localhost/srv/calls/c.wav", True),
            ("file:///srv/calls", "file://other/srv/calls/c.wav", False),
            ("file:///srv/calls", "file:///srv/calls2/c.wav", False),
        ],
    )
    def test_cover_whole_segments_of_the_very_same_place(self, rule: str, url: str, *, covered: bool) -> None:
        assert may(url, rule) is covered

    @given(
        prefix=st.text("abc-.%/", min_size=1, max_size=12),
        more=st.text("abc-.", min_size=1, max_size=6),
        scheme=st.sampled_from(["s3://bucket/", "https://ok.example/", "file:///srv/"]),
    )
    def test_a_longer_name_is_another_place(self, prefix: str, more: str, scheme: str) -> None:
        rule = scheme + prefix
        assume(not prefix.endswith("/"))
        try:
            SourceRule.parse(rule)
        except ValueError:
            assume(False)

        assert not may(rule + more, rule)
        assert not may(f"{rule}{more}/c.wav", rule)
        assert may(f"{rule}/c.wav", rule)


class TestHiddenPaths:
    @pytest.mark.parametrize("scheme", ["s3://b", "https://ok.example", "file://"])
    @pytest.mark.parametrize(
        "path",
        [
            "/acme/../secret.wav",
            "/acme/./c.wav",
            "/acme/..",
            "/acme/%2e%2e/secret.wav",
            "/acme/%2E./secret.wav",
            "/acme/.%2e/secret.wav",
            "/acme/..%2fsecret.wav",
            "/acme/..\\secret.wav",
            "/acme/..;/secret.wav",
            "/acme/..;a=b/secret.wav",
        ],
    )
    def test_lead_nowhere(self, scheme: str, path: str) -> None:
        assert not may(f"{scheme}{path}", f"{scheme}/acme")

    @pytest.mark.parametrize("scheme", ["https://ok.example", "file://"])
    @pytest.mark.parametrize(
        "path", ["/acme/%252e%252e/secret.wav", "/acme/..%5csecret.wav", "/acme/%2e%2e%3b/secret.wav"]
    )
    def test_that_somebody_decodes_once_more_lead_nowhere(self, scheme: str, path: str) -> None:
        assert not may(f"{scheme}{path}", f"{scheme}/acme")

    @pytest.mark.parametrize(
        "path", ["/acme/a..b.wav", "/acme/...", "/acme/.hidden", "/acme/a;b.wav", "/acme/c:1@x.wav"]
    )
    def test_dots_within_a_name_are_no_path(self, path: str) -> None:
        for scheme in ("s3://b", "https://ok.example", "file://"):
            assert may(f"{scheme}{path}", f"{scheme}/acme")

    @pytest.mark.parametrize(
        "url",
        [
            "https://ok.example@evil.example/acme/c.wav",
            "https://user:pass@ok.example/acme/c.wav",
            "https://:@ok.example/acme/c.wav",
            "https://ok.example\\@evil.example/acme/c.wav",
            "https://ok.example:443@evil.example/acme/c.wav",
            "s3://key:secret@b/acme/c.wav",
        ],
    )
    def test_user_info_is_refused(self, url: str) -> None:
        assert not may(url, "https://ok.example/", "https://evil.example/acme-", "s3://b/")

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "c.wav",
            "//ok.example/c.wav",
            "ftp://ok.example/c.wav",
            "javascript:alert(1)",
            "https:///c.wav",
            "https://[::1/c.wav",
            "https://ok.example:port/c.wav",
            "https://ok.example:70000/c.wav",
            "s3:///c.wav",
        ],
    )
    def test_what_is_no_address_is_refused_in_words(self, url: str) -> None:
        refusal = policy(everybody=["https://ok.example/", "s3://b/"]).refusal("acme", url)

        assert refusal is not None
        assert refusal.endswith(".")


class TestWhatIsAllowedIsWhatIsFetched:
    """The policy and the client read an address alike: nothing may slip in between."""

    RULES = ("https://ok.example/acme", "http://ok.example:8443/acme")

    @given(st.sampled_from(RULES), st.lists(st.sampled_from(PIECES), max_size=6).map("".join), near_urls)
    @example("https://ok.example:0/acme", "/c.wav", "")
    @example("https://ok.example\t/acme", "/c.wav", "")
    @example("https://ok.example/acme", "?x#y", "")
    def test_over_http(self, beginning: str, end: str, other: str) -> None:
        for url in (beginning + end, other):
            if not may(url, *self.RULES):
                continue
            try:
                asked = httpx.URL(url)
            except httpx.InvalidURL:
                continue  # refused later, in words
            where = (asked.scheme, asked.host, asked.port)
            assert where in [("https", "ok.example", None), ("http", "ok.example", 8443)]
            path = posixpath.normpath(unquote(asked.raw_path.decode("ascii").partition("?")[0]))
            assert path == "/acme" or path.startswith("/acme/")

    @given(st.lists(st.sampled_from([*PIECES, "srv", "calls"]), max_size=8).map("".join))
    @example("/../secret")
    @example("/%2e%2e/secret")
    def test_on_disk(self, path: str) -> None:
        url = f"file:///srv/calls{path}"
        if may(url, "file:///srv/calls"):
            named = posixpath.normpath(unquote(urlsplit(url).path))
            assert named == "/srv/calls" or named.startswith("/srv/calls/")

    @given(st.lists(st.sampled_from([*PIECES, "b", "acme"]), max_size=8).map("".join))
    @example("/acme/%2e%2e/x")
    @example("/acme?x=/../y")
    def test_on_s3(self, path: str) -> None:
        for url in (f"s3://b{path}", f"s3://b/acme{path}"):
            if may(url, "s3://b/acme"):
                address = Address.parse(url)
                assert address.authority == "b"
                assert url == f"s3://b{address.path}", "the key is taken as it stands"
                assert address.path == "/acme" or address.path.startswith("/acme/")


class TestRules:
    @pytest.mark.parametrize(
        "rule",
        [
            "",
            "recordings",
            "ftp://h/x",
            "s3://",
            "s3:///x",
            "https://",
            "https://u:p@h/x",
            "file://",
            "file:///",
            "file://host/x",
            "s3://b/../x",
            "https://h/%2e%2e/x",
        ],
    )
    def test_that_can_mean_nothing_are_refused_with_the_rule(self, rule: str) -> None:
        with pytest.raises(ValueError, match="SOURCES: ") as refused:
            SourceRule.parse(rule)
        assert repr(rule) in str(refused.value)

    @given(st.text("abc .ü%", min_size=1, max_size=10))
    def test_an_address_may_be_quoted_or_not(self, name: str) -> None:
        assume(name.strip(".") == name)
        url = f"https://ok.example/acme/{quote(name)}"

        assert may(url, "https://ok.example/acme")
        assert Address.parse(url).path == f"/acme/{name}"
