"""Who decodes a file: ourselves, libsndfile or FFmpeg, by what the file is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from io import BufferedReader
from typing import Any, Final

from dsp import decode_pcm
from dsp.audio import Encoding
from dsp.containers import Container, mp3_knows_length, mp3_start, other_name
from dsp.decode_reader import Reader
from dsp.errors import RecordingError, Undecodable, UnsupportedChannels, UnsupportedContainer
from dsp.input_file import InputFile, window
from dsp.ogg_pages import ogg_codec
from dsp.wav_header import WavHeader

_TAKEN: Final = (
    "WAV, FLAC, MP3, Ogg, WebM, M4A, AMR and the like; or without a header, with its encoding in the event"
)
_MP3_TAG: Final = 0x55
# PCM, MS-ADPCM, float, IMA-ADPCM, GSM 6.10, and 0 where there was no format: its reason is the best to read.
_SNDFILE_TAGS: Final = (0, 1, 2, 3, 0x11, 0x31)
_DEMUXERS: Final = {
    Container.ADTS: "aac",
    Container.AMR: "amr",
    Container.MATROSKA: "matroska",
    Container.MP4: "mov",
    Container.OGG: "ogg",
}
_WITHOUT_LENGTH: Final = ("aac", "amr")
# What libsndfile reads, and FFmpeg too where libsndfile gives up on the header.
_SECOND: Final = {
    Container.AIFF: "aiff",
    Container.AU: "au",
    Container.CAF: "caf",
    Container.FLAC: "flac",
    Container.OGG: "ogg",
    Container.RF64: "wav",
    Container.W64: "w64",
    Container.WAV: "wav",
}


def opened_reader(
    file: InputFile, container: Container | None, wav: WavHeader | None, encoding: Encoding | None
) -> AbstractContextManager[Reader]:
    """Choose who decodes a file."""
    if container is None:
        if encoding is None:
            raise _refused(file)
        return _headerless(file, encoding)
    if wav is not None:
        return _wav(file, wav, container)
    if container is Container.MP3:
        return _mp3(file, 0, file.size, container.value)
    # Of Ogg, FFmpeg gives Opus at 48 kHz whatever it was made from, and libsndfile loses its place in a damaged Vorbis.
    if container in _DEMUXERS and not (container is Container.OGG and ogg_codec(file) == "opus"):
        return _by_av(window(file), _DEMUXERS[container], container.value)
    return _by_either(file, container)


def _headerless(file: InputFile, encoding: Encoding) -> AbstractContextManager[Reader]:
    plain = decode_pcm.open_headerless(file, encoding)
    if plain is not None:
        return nullcontext(plain)
    if encoding.format == "g722":
        if encoding.channels != 1:
            raise UnsupportedChannels("G.722 without a header has one channel.")
        return _by_av(window(file), "g722", "raw")
    layout = {"samplerate": encoding.sample_rate_hz, "channels": encoding.channels}
    return _by_sndfile(window(file), raw={"format": "RAW", "subtype": "GSM610", **layout})


def _wav(file: InputFile, wav: WavHeader, container: Container) -> AbstractContextManager[Reader]:
    plain = decode_pcm.open_wav(file, wav, container.value)
    if plain is not None:
        return nullcontext(plain)
    if wav.format.tag == _MP3_TAG:
        return _mp3(file, wav.data_at, wav.data_at + wav.data_bytes, container.value)
    patches = wav.length_patches()
    if wav.format.tag in _SNDFILE_TAGS:
        return _by_either(file, container, patches)
    return _by_av(window(file, patches=patches), "wav", container.value)


def _mp3(file: InputFile, start: int, end: int, container: str) -> AbstractContextManager[Reader]:
    """Read MP3 by FFmpeg: libsndfile (1.2.2) garbles it where it is read in blocks."""
    start += mp3_start(file, start) or 0
    return _by_av(
        window(file, start, end - start), "mp3", container, knows_length=mp3_knows_length(file, start)
    )


@contextmanager
def _by_either(
    file: InputFile, container: Container, patches: dict[int, bytes] | None = None
) -> Iterator[Reader]:
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(
                _flac(file) if container is Container.FLAC else _by_sndfile(window(file, patches=patches))
            )
        except Undecodable as reason:
            demuxer = _SECOND.get(container)
            if demuxer is None:
                raise
            try:
                second = _by_av(window(file, patches=patches), demuxer, container.value)
                reader = stack.enter_context(second)
            except RecordingError:
                raise reason from None
        yield reader


def _flac(file: InputFile) -> AbstractContextManager[Reader]:
    from dsp.decode_flac import opened_flac  # noqa: PLC0415  (plain samples do without it)

    return opened_flac(file)


def _by_sndfile(stream: BufferedReader, raw: dict[str, Any] | None = None) -> AbstractContextManager[Reader]:
    from dsp.decode_sndfile import opened_by_sndfile  # noqa: PLC0415  (plain samples do without it)

    return opened_by_sndfile(stream, raw)


def _by_av(
    stream: BufferedReader, name: str, container: str, *, knows_length: bool = True
) -> AbstractContextManager[Reader]:
    from dsp.decode_av import Demuxer, opened_by_av  # noqa: PLC0415  (FFmpeg is large, and seldom needed)

    return opened_by_av(stream, Demuxer(name, container, knows_length and name not in _WITHOUT_LENGTH))


def _refused(file: InputFile) -> Undecodable | UnsupportedContainer:
    other = other_name(file)
    if other is not None:
        return UnsupportedContainer(f"The recording is a {other} file, which is not taken ({_TAKEN}).")
    return Undecodable(f"The file is not audio that Clearcall can read ({_TAKEN}).")
