"""Chain files: what is right is read, what is wrong is refused with its line and the nearest right name."""

from typing import get_args

import pytest

from dsp import ChainFileError, load_chain_file, shipped_chain_file
from dsp.chain_file import _SHIPPED
from dsp.stages import REGISTRY, Denoise, LimitTruePeak, NormalizeLoudness, Stage
from dsp.stages.denoise import Method

SHIPPED = _SHIPPED.read_text(encoding="utf-8")

MISTAKES = {
    "an unknown stage": ("- denoise:", "- denoize:", "denoize", "did you mean `denoise`?"),
    "an unknown key of a chain": (
        "    stages:\n      - d",
        "    stagess:\n      - d",
        "stagess",
        "did you mean `stages`?",
    ),
    "an unknown key of a stage": ("target_lufs", "target_luft", "target_luft", "did you mean `target_lufs`?"),
    "an unknown key of a rendition": ("format: wav", "formt: wav", "formt", "did you mean `format`?"),
    "an unknown key on top": ("chains:", "chain:", "chain:", "did you mean `chains`?"),
    "an unknown method": ("method: auto", "method: rnnoize", "denoise:", "did you mean `rnnoise`?"),
    "an option of another method": (
        "method: auto",
        "method: omlsa, mix: 0.1",
        "denoise:",
        "`mix` belongs to the methods `auto` and `rnnoise`",
    ),
    "an encoding of another format": (
        "{format: flac}",
        "{format: flac, encoding: mulaw}",
        "listen:",
        "`flac` has no encoding `mulaw`",
    ),
    "a bit rate without a codec": (
        "format: wav",
        "format: wav\n        bit_rate_kbps: 32",
        "asr:",
        "`wav` loses nothing and has no bit_rate_kbps",
    ),
    "a rate that is none of telephony": (
        "{format: flac}",
        "{format: flac, sample_rate_hz: 96000}",
        "listen:",
        "must be less than or equal to 48000",
    ),
    "an unknown speed": (
        "ceiling_dbtp: -1.5",
        "ceiling_dbtp: -1.5, speed: fats",
        "limit:",
        "did you mean `fast`?",
    ),
    "a target that is none": ("target_lufs: -16.0", "target_lufs: -5", "target_lufs: -5", "or equal to -9"),
    "an unknown format": ("flac}", "flax}", "listen:", "did you mean `flac`?"),
    "a value out of range": (
        "ceiling_dbtp: -1.5",
        "ceiling_dbtp: 3",
        "ceiling_dbtp: 3",
        "must be less than or equal to 0",
    ),
    "a number as text": (
        "target_lufs: -16.0",
        "target_lufs: '-16'",
        "target_lufs: '-16'",
        "must be a valid number",
    ),
    "no number": ("target_lufs: -16.0", "target_lufs: .nan", "target_lufs: .nan", "must be a finite number"),
    "another version": ("version: 1", "version: 2", "version: 2", "must be 1, not 2"),
    "a name with a space": ("  telephony:", "  tele phony:", "tele phony:", "must match"),
    "a stage twice": (
        "- normalize:",
        "- denoise: {method: none}\n      - normalize:",
        "    stages:",
        "each at most once",
    ),
    "stages out of order": (
        "- denoise: {method: auto}",
        "- limit",
        "    stages:",
        "run in the order",
    ),
    "a stage that is no mapping": (
        "- limit: {ceiling_dbtp: -1.5}",
        "- [limit]",
        "- [limit]",
        "written as one name",
    ),
    "no text for a key": ("  telephony:", "  1:", "  1:", "which is not text"),
    "a key twice": ("version: 1", "version: 1\nversion: 1", "version: 1", "twice; the first stands on line"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(mistake: str) -> None:
    """Every mistake says where it stands and what is meant."""
    right, wrong, on_line, hint = MISTAKES[mistake]
    assert right in SHIPPED
    text = SHIPPED.replace(right, wrong, 1)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if on_line in line]
    with pytest.raises(ChainFileError) as refused:
        load_chain_file(text, origin="mine.yaml")
    problem = refused.value.problems[0]
    assert hint in problem.message
    assert problem.line in lines
    assert str(refused.value).startswith(f"mine.yaml, line {problem.line}: ")
    assert refused.value.code == "chain_file_invalid"


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_can_be_chosen(method: str) -> None:
    text = SHIPPED.replace("method: auto", f"method: {method}")
    (stage, *_) = load_chain_file(text, origin="mine.yaml").chains["telephony"].stages
    assert isinstance(stage, Denoise)
    assert stage.method == method


@pytest.mark.parametrize(
    ("written", "form", "encoding", "bit_rate_kbps", "sample_rate_hz"),
    [
        ("{format: mp3}", "mp3", None, None, None),
        ("{format: m4a, bit_rate_kbps: 48}", "m4a", None, 48, None),
        ("{format: opus, sample_rate_hz: 16000}", "opus", None, None, 16_000),
        ("{format: wav, encoding: mulaw}", "wav", "mulaw", None, None),
        ("{format: flac, encoding: pcm_24, layout: mono}", "flac", "pcm_24", None, None),
    ],
)
def test_the_files_of_a_rendition_can_be_chosen(
    written: str, form: str, encoding: str | None, bit_rate_kbps: int | None, sample_rate_hz: int | None
) -> None:
    text = SHIPPED.replace("{format: flac}", written)
    listen = load_chain_file(text, origin="mine.yaml").chains["telephony"].renditions["listen"]
    assert (listen.format, listen.encoding) == (form, encoding)
    assert (listen.bit_rate_kbps, listen.sample_rate_hz) == (bit_rate_kbps, sample_rate_hz)


def test_every_mistake_is_told_at_once() -> None:
    """Two mistakes are two problems, by line."""
    text = SHIPPED.replace("channels: auto", "channels: both").replace(
        "ceiling_dbtp: -1.5", "ceiling_dbtp: 1"
    )
    with pytest.raises(ChainFileError) as refused:
        load_chain_file(text, origin="mine.yaml")
    lines = [problem.line for problem in refused.value.problems]
    assert len(lines) == 3
    assert lines == sorted(lines)


@pytest.mark.parametrize("told", [{"default": "telefony"}, {"tenants": {"acme": {"chain": "telefony"}}}])
def test_a_chain_that_is_named_must_exist(told: dict[str, object]) -> None:
    """The default and the tenants' chains are looked up when the file is read."""
    text = f"{SHIPPED}\n" + "\n".join(f"{key}: {value!r}" for key, value in told.items()).replace("'", '"')
    with pytest.raises(
        ChainFileError, match="`telefony` is not a known chain; did you mean `telephony`"
    ) as refused:
        load_chain_file(text, origin="mine.yaml")
    assert refused.value.problems[0].line == len(text.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "- a\n- b",
        "chains: [",
        "a: *nobody",
        "{",
        "\x00",
        "a: !!python/name:os.system x",
        "a: {b: 1, c",
    ],
)
def test_what_is_no_chain_file_is_refused(text: str) -> None:
    """Nothing but ChainFileError comes out, whatever goes in."""
    with pytest.raises(ChainFileError):
        load_chain_file(text, origin="mine.yaml")


def test_two_renditions_cannot_write_the_same_file() -> None:
    text = "version: 1\nchains:\n  c:\n    renditions:\n      a: {layout: split}\n      a-0: {}\n"
    with pytest.raises(ChainFileError, match="`a-0` has the name of a file of the split rendition `a`"):
        load_chain_file(text, origin="chains.yaml")


def test_aliases_of_aliases_end() -> None:
    """A small file does not become a great document."""
    bomb = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(9))
    with pytest.raises(ChainFileError, match="has more than"):
        load_chain_file(bomb, origin="mine.yaml")


def test_nesting_ends() -> None:
    """Depth is refused, not followed until the stack ends."""
    with pytest.raises(ChainFileError):
        load_chain_file("[" * 20_000, origin="mine.yaml")


def test_json_is_read_with_its_tabs_and_exponents() -> None:
    """The same model in JSON; what JSON takes and YAML 1.1 does not is taken."""
    text = '{\t"version": 1,\n\t"chains": {"a": {"stages": [{"limit": {"ceiling_dbtp": -1e0}}]}}\n}'
    (stage,) = load_chain_file(text, origin="mine.json").chains["a"].stages
    assert stage == LimitTruePeak(ceiling_dbtp=-1.0)


def test_the_shipped_chain_is_what_the_documents_say() -> None:
    """Listen is FLAC, levelled, and denoised where there is noise; asr is WAV, levelled and not denoised."""
    shipped = shipped_chain_file().chains["telephony"]
    assert shipped.stages == (
        Denoise(method="auto", mix=0.1),
        NormalizeLoudness(target_lufs=-16.0),
        LimitTruePeak(ceiling_dbtp=-1.5),
    )
    assert {name: spec.format for name, spec in shipped.renditions.items()} == {
        "listen": "flac",
        "asr": "wav",
    }
    assert shipped.renditions["listen"].stages is None
    assert shipped.renditions["asr"].stages == shipped.stages[1:]


@pytest.mark.parametrize("stage", REGISTRY.values(), ids=REGISTRY)
def test_every_option_says_what_it_means(stage: type[Stage]) -> None:
    """The reference of the chain file comes from the fields: none may be without words."""
    assert stage.__doc__
    for name, option in stage.model_fields.items():
        assert option.description, f"{stage.__name__}.{name}"
