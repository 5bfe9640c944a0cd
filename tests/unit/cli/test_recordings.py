"""Where the outputs of recordings go, and what cannot be meant."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.recordings import Found, Job, WrongUseError, find, format_of, out_is_file, plan, shown
from dsp import ResolvedChain, load_chain_file

CHAINS = load_chain_file(
    """
    version: 1
    chains:
      usual: {renditions: {listen: {format: flac}, asr: {format: wav}}}
      split: {renditions: {listen: {format: flac, layout: split}, asr: {format: wav}}}
    """,
    origin="a test",
)
NOWHERE = Path("/nowhere/at/all")


def _chain(*renditions: str, name: str = "usual") -> ResolvedChain:
    return CHAINS.resolve(chain=name).only(renditions)


def _found(*names: str) -> Found:
    return Found(tuple(Path(name) for name in names), is_one_file=len(names) == 1)


def _places(job: Job) -> list[str]:
    return [str(place) for place in job.targets.values()]


def test_one_recording_becomes_the_file_that_is_named() -> None:
    (job,) = plan(_found("call.wav"), f"{NOWHERE}/quiet.flac", _chain("listen"))
    assert job.targets == {"listen.flac": NOWHERE / "quiet.flac"}
    assert job.folder == NOWHERE


def test_a_name_that_is_written_as_a_folder_is_one() -> None:
    (job,) = plan(_found("call.wav"), f"{NOWHERE}/", _chain("listen"))
    assert _places(job) == [f"{NOWHERE}/call.flac"]


def test_several_recordings_go_into_a_folder() -> None:
    jobs = plan(_found("a/one.wav", "b/two.2024.mp3", "three"), str(NOWHERE), _chain("asr"))
    assert [_places(job) for job in jobs] == [
        [f"{NOWHERE}/one.wav"],
        [f"{NOWHERE}/two.2024.wav"],
        [f"{NOWHERE}/three.wav"],
    ]


def test_a_folder_of_one_recording_still_gives_a_folder() -> None:
    (job,) = plan(Found((Path("a/one.wav"),), is_one_file=False), f"{NOWHERE}/x.flac", _chain("listen"))
    assert _places(job) == [f"{NOWHERE}/x.flac/one.flac"]


def test_several_renditions_have_their_names_in_the_file_names() -> None:
    (job,) = plan(_found("call.wav"), str(NOWHERE), _chain("asr", "listen"))
    assert _places(job) == [f"{NOWHERE}/call.asr.wav", f"{NOWHERE}/call.listen.flac"]


def test_several_renditions_of_a_named_file_share_its_stem() -> None:
    (job,) = plan(_found("call.wav"), f"{NOWHERE}/quiet.flac", _chain("asr", "listen"))
    assert _places(job) == [f"{NOWHERE}/quiet.asr.wav", f"{NOWHERE}/quiet.listen.flac"]


def test_a_file_a_channel_has_the_channel_in_its_name() -> None:
    (job,) = plan(_found("call.wav"), f"{NOWHERE}/quiet.flac", _chain("listen", name="split"))
    assert job.targets["listen-0.flac"] == NOWHERE / "quiet-0.flac"
    assert job.targets["listen-1.flac"] == NOWHERE / "quiet-1.flac"
    (job,) = plan(_found("call.wav"), f"{NOWHERE}/", _chain("listen", "asr", name="split"))
    assert job.targets["listen-1.flac"] == NOWHERE / "call.listen-1.flac"


def test_two_recordings_of_one_stem_cannot_share_a_folder() -> None:
    with pytest.raises(
        WrongUseError, match=r"monday/call\.wav and tuesday/call\.mp3 would both become .*call\.flac"
    ):
        plan(_found("monday/call.wav", "tuesday/call.mp3"), str(NOWHERE), _chain("listen"))


def test_outputs_that_would_meet_by_their_channels_are_seen_beforehand() -> None:
    chains = load_chain_file(
        "{version: 1, chains: {odd: {renditions: {b: {layout: split}, a.b-1: {}}}}}", origin="a test"
    )
    chain = chains.resolve(chain="odd").only(("b", "a.b-1"))
    with pytest.raises(WrongUseError, match="would both become"):
        plan(_found("call.wav", "call.a.wav"), str(NOWHERE), chain)


@pytest.mark.parametrize(("name", "wanted"), [("a.wav", "wav"), ("a.FLAC", "flac"), ("a.b/quiet", None)])
def test_the_suffix_of_an_output_asks_for_its_format(name: str, wanted: str | None) -> None:
    assert format_of(Path(name)) == wanted


def test_a_format_that_is_not_written_is_refused_with_those_that_are() -> None:
    with pytest.raises(WrongUseError, match=r"\.aiff is not written; name the output \.flac.* or \.\w+\."):
        format_of(Path("quiet.aiff"))


def test_what_a_folder_holds_is_known_by_its_name_in_any_case(tmp_path: Path) -> None:
    for name in ("a.wav", "b.MP3", "c.amr", "d.m4a", "notes.txt", ".hidden.wav", "e.wav49"):
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    found = [path.name for path in find([str(tmp_path)]).recordings]
    assert found == ["a.wav", "b.MP3", "c.amr", "d.m4a", "e.wav49"]


@pytest.mark.parametrize(
    ("out", "renditions", "is_file"),
    [
        ("quiet.flac", 1, True),
        ("quiet", 1, True),
        ("quiet/", 1, False),
        ("quiet", 2, False),
        ("q.wav", 2, True),
    ],
)
def test_out_is_a_file_for_one_input_unless_it_cannot_be(out: str, renditions: int, *, is_file: bool) -> None:
    assert out_is_file(_found(str(NOWHERE / "call.wav")), str(NOWHERE / "x") + out, renditions) is is_file


def test_a_file_that_is_not_there_is_kept_to_be_reported() -> None:
    assert find([f"{NOWHERE}/a.wav"]) == Found((NOWHERE / "a.wav",), is_one_file=True)


def test_a_pattern_that_matches_nothing_is_wrong_use() -> None:
    with pytest.raises(WrongUseError, match=r"No file matches /nowhere/at/all/\*\.wav"):
        find([f"{NOWHERE}/*.wav"])


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_no_name_can_garble_a_terminal(name: bytes) -> None:
    text = shown(Path(name.decode("utf-8", errors="surrogateescape")))
    assert text.isprintable()
    text.encode("utf-8")
