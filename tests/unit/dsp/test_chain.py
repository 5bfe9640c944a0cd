"""Chains: which one a call gets, and that its digest names the samples and nothing else."""

import json
import random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dsp import (
    OUTPUT_VERSION,
    ChainFile,
    Pause,
    ResolvedChain,
    UnknownChain,
    UnknownRendition,
    load_chain_file,
    shipped_chain_file,
)
from dsp.stages import Denoise, LimitTruePeak, NormalizeLoudness

THREE = """
version: 1
default: second
chains:
  first: {stages: [normalize]}
  second: {stages: [limit]}
  third: {stages: [], channels: linked, mute_pauses: true}
tenants:
  acme: {chain: first}
"""


def _file() -> ChainFile:
    return load_chain_file(THREE, origin="three.yaml")


@pytest.mark.parametrize(
    ("chain", "tenant", "expected"),
    [
        ("third", "acme", "third"),
        (None, "acme", "first"),
        (None, "other", "second"),
        ("first", "other", "first"),
    ],
)
def test_the_event_comes_before_the_tenant_before_the_default(
    chain: str | None, tenant: str, expected: str
) -> None:
    assert _file().resolve(chain=chain, tenant=tenant, named_roles=True, pauses=()).name == expected


def test_without_a_default_the_first_chain_is_it() -> None:
    assert shipped_chain_file().resolve().name == "telephony"


def test_an_unknown_chain_is_refused_with_those_that_exist() -> None:
    with pytest.raises(
        UnknownChain, match=r"no chain `fourth`; the chain file has `first`, `second` and `third`"
    ) as refused:
        _file().resolve(chain="fourth")
    assert (refused.value.code, refused.value.retriable) == ("unknown_chain", False)


@pytest.mark.parametrize(
    ("chain", "named_roles", "expected"),
    [("first", True, "independent"), ("first", False, "linked"), ("third", True, "linked")],
)
def test_auto_levels_each_party_where_the_event_names_them(
    chain: str, named_roles: bool, expected: str
) -> None:
    assert _file().resolve(chain=chain, named_roles=named_roles).channels == expected


def test_pauses_are_part_of_a_chain_only_where_it_mutes_them() -> None:
    pauses = (Pause(5, 6.5, "payment"), Pause(1, 3), Pause(2, 4))
    heard, muted = (_file().resolve(chain=name, pauses=pauses) for name in ("first", "third"))
    assert heard.mute_s == ()
    assert heard.digest == _file().resolve(chain="first").digest
    assert muted.mute_s == ((1.0, 4.0), (5.0, 6.5))
    assert muted.digest != _file().resolve(chain="third").digest


def test_how_pauses_are_told_does_not_matter() -> None:
    """Order, overlap, reason, and whole or broken numbers mute the same samples."""
    told = (
        (Pause(1, 3), Pause(2, 4), Pause(8, 9)),
        (Pause(8.0, 9.0, "hold"), Pause(1.0, 4.0, "payment"), Pause(7, 7)),
    )
    digests = {_file().resolve(chain="third", pauses=pauses).digest for pauses in told}
    assert len(digests) == 1


def _shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: _shuffled(value[key], order) for key in keys}
    if isinstance(value, list):
        return [_shuffled(entry, order) for entry in value]
    if isinstance(value, float) and value.is_integer() and order.random() < 0.5:
        return int(value)
    return value


SPELLED_OUT: dict[str, Any] = {
    "version": 1,
    "default": None,
    "tenants": {},
    "chains": {
        "another-name": {
            "channels": "auto",
            "mute_pauses": False,
            "stages": [
                {"denoise": {"method": "auto", "mix": 0.1}},
                {"normalize": {"target_lufs": -16.0, "max_gain_db": 30.0}},
                {"limit": {"ceiling_dbtp": -1.5, "link": None, "speed": "auto"}},
            ],
            "renditions": {
                "asr": {
                    "format": "wav",
                    "layout": "source",
                    "stages": [{"normalize": None}, {"limit": {}}],
                },
                "listen": {
                    "format": "flac",
                    "layout": "source",
                    "stages": None,
                    "encoding": None,
                    "bit_rate_kbps": None,
                    "sample_rate_hz": None,
                },
            },
        }
    },
}


@given(order=st.randoms(use_true_random=False), as_json=st.booleans())
def test_another_spelling_of_the_same_chain_has_the_same_digest(order: random.Random, as_json: bool) -> None:
    """Defaults spelled out, order of keys and renditions, 16 or 16.0, YAML or JSON, the name: none of it counts."""
    told = _shuffled(SPELLED_OUT, order)
    text = json.dumps(told) if as_json else yaml.safe_dump(told, sort_keys=False)
    assert load_chain_file(text, origin="mine").resolve().digest == shipped_chain_file().resolve().digest


CHANGES: dict[str, dict[str, Any]] = {
    "a stage's option": {"stages": [{"limit": {"ceiling_dbtp": -2.0}}]},
    "a stage less": {"stages": []},
    "a format": {"renditions": {"listen": {"format": "wav"}}},
    "a layout": {"renditions": {"listen": {"layout": "mono"}}},
    "a rendition's name": {"renditions": {"hear": {}}},
    "a rendition more": {"renditions": {"listen": {}, "asr": {"format": "wav"}}},
    "a rendition's stages": {"renditions": {"listen": {"stages": []}}},
    "the channels": {"channels": "independent"},
    "an encoding": {"renditions": {"listen": {"encoding": "pcm_24"}}},
    "a rate": {"renditions": {"listen": {"sample_rate_hz": 16000}}},
    "a bit rate": {"renditions": {"listen": {"format": "mp3", "bit_rate_kbps": 24}}},
    "a limiter that links": {"stages": [{"limit": {"link": True}}]},
    "a limiter's speed": {"stages": [{"limit": {"speed": "fast"}}]},
    "a denoiser": {"stages": [{"denoise": {"method": "omlsa"}}, {"limit": {}}]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_samples_changes_the_digest(change: str) -> None:
    plain: dict[str, Any] = {"stages": [{"limit": {}}], "renditions": {"listen": {}}}
    digests = {
        load_chain_file(json.dumps({"version": 1, "chains": {"a": spec}}), origin="a").resolve().digest
        for spec in (plain, plain | CHANGES[change])
    }
    assert len(digests) == 2


def test_options_that_came_later_are_not_in_the_canonical_form_while_they_have_their_default() -> None:
    """A chain of before they existed says the same as before, and has the same digest."""
    told = shipped_chain_file().resolve().to_json()
    for rendition in told["renditions"]:
        assert set(rendition) == {"name", "format", "layout", "stages"}
        assert rendition["stages"][-2:] == [
            {"normalize": {"target_lufs": -16.0, "max_gain_db": 30.0}},
            {"limit": {"ceiling_dbtp": -1.5}},
        ]


def test_a_digest_does_not_change_between_releases() -> None:
    """Results of a call are found again by it. What makes other samples raises OUTPUT_VERSION; nothing else changes it.

    If this fails and no sample changed: a field was added without a name in ``Strict.added``, or renamed.
    """
    spec = {"stages": ["normalize", {"limit": {}}], "renditions": {"listen": {}}, "channels": "linked"}
    chain = load_chain_file(json.dumps({"version": 1, "chains": {"a": spec}}), origin="a").resolve()
    assert OUTPUT_VERSION == 2
    assert chain.digest == "6cf7e9086c41ed5665ed6411046ad1f5e811a0d7a48c7907853eb19029553927"


@pytest.mark.parametrize("method", ["omlsa", "spectral_gate", "none"])
def test_an_option_that_decides_nothing_is_in_no_digest(method: str) -> None:
    """``mix`` is of the methods that mix."""
    text = json.dumps({"version": 1, "chains": {"a": {"stages": [{"denoise": {"method": method}}]}}})
    told = load_chain_file(text, origin="a").resolve().to_json()
    assert told["renditions"][0]["stages"] == [{"denoise": {"method": method}}]


def test_the_output_version_is_part_of_the_digest() -> None:
    chain = shipped_chain_file().resolve()
    assert chain.model_copy(update={"output_version": chain.output_version + 1}).digest != chain.digest
    assert len(chain.digest) == 64


@pytest.mark.parametrize("named_roles", [True, False])
def test_a_chain_that_was_stored_is_read_back(named_roles: bool) -> None:
    """Through JSON text, as a database or a pipe carries it."""
    chain = _file().resolve(chain="third", named_roles=named_roles, pauses=(Pause(1, 2),))
    read = ResolvedChain.from_json(json.loads(json.dumps(chain.to_json(), allow_nan=False)))
    assert read == chain
    assert read.digest == chain.digest


def test_a_chain_that_is_not_what_its_digest_says_is_refused() -> None:
    told = shipped_chain_file().resolve().to_json()
    told["channels"] = "independent"
    with pytest.raises(ValueError, match="stored as"):
        ResolvedChain.from_json(told)


def test_some_of_the_renditions_carry_the_digest_of_the_whole() -> None:
    """Each file is the same as if all had been made."""
    chain = shipped_chain_file().resolve()
    part = ResolvedChain.from_json(chain.only(["asr"]).to_json())
    assert [rendition.name for rendition in part.renditions] == ["asr"]
    assert part.digest == chain.digest
    with pytest.raises(UnknownRendition, match=r"no rendition `lisen`; it has `listen` and `asr`"):
        chain.only(["lisen"])


def test_the_target_is_that_of_the_first_rendition() -> None:
    assert shipped_chain_file().resolve().target_lufs == -16.0
    assert _file().resolve(chain="second").target_lufs is None


def test_a_rendition_has_its_own_stages_or_those_of_the_chain() -> None:
    listen, asr = shipped_chain_file().resolve().renditions
    assert [type(stage) for stage in listen.stages] == [Denoise, NormalizeLoudness, LimitTruePeak]
    assert [type(stage) for stage in asr.stages] == [NormalizeLoudness, LimitTruePeak]
