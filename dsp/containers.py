"""What a file's own structure says of it: which container it is."""

from __future__ import annotations

from enum import Enum
from typing import Final

from dsp.input_file import InputFile

_HEAD_BYTES: Final = 4_096
_RIFF_FORMS: Final = (b"RIFF", b"RF64", b"BW64")


class Container(Enum):
    """Containers that are told by their first bytes; the value is the name that the report has."""

    WAV = "wav"
    RF64 = "rf64"
    RIFX = "rifx"
    W64 = "w64"
    AIFF = "aiff"
    AU = "au"
    CAF = "caf"
    FLAC = "flac"
    OGG = "ogg"
    MP3 = "mp3"
    ADTS = "aac"
    MATROSKA = "matroska"
    MP4 = "mp4"
    AMR = "amr"


# Beginnings that no headerless telephone audio has but by an accident of 1 in 4 thousand million.
_MAGIC: Final = {
    b"RIFX": Container.RIFX,
    b"riff": Container.W64,
    b"FORM": Container.AIFF,
    b".snd": Container.AU,
    b"caff": Container.CAF,
    b"fLaC": Container.FLAC,
    b"OggS": Container.OGG,
    b"\x1aE\xdf\xa3": Container.MATROSKA,
    b"#!AM": Container.AMR,
}
_MP3_TAG: Final = b"ID3"
_MP4_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
# Sound, but of no telephony system that we know.
_OTHERS: Final = {
    b"NIST_1A": "NIST Sphere",
    b"Creative Voice File": "VOC",
    b"0&\xb2u\x8ef\xcf\x11": "ASF (WMA)",
    b".RMF": "RealMedia",
    b"FLV\x01": "Flash video",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
    b"TTA1": "True Audio",
    b"\x64\xa3\x01\x00": "IRCAM",
    b"\x0b\x77": "AC-3",
}


def container_of(file: InputFile, *, has_encoding: bool) -> Container | None:
    """Tell the container by the file's content; None where it has no header that is known.

    Parameters
    ----------
    has_encoding
        Whether the sender says how to read a file without a header. Then two bytes that could begin an untagged MP3 or
        AAC file are not enough: a headerless file may begin with any.
    """
    head = file.read_at(0, _HEAD_BYTES)
    if head[:4] in _RIFF_FORMS and head[8:12] == b"WAVE":
        return Container.WAV if head[:4] == b"RIFF" else Container.RF64
    if head[:4] in _MAGIC:
        return _MAGIC[head[:4]]
    if head.startswith(_MP3_TAG):
        return Container.MP3
    if head[4:8] in _MP4_BOXES:
        return Container.MP4
    if has_encoding:
        return None
    if mp3_start(file) is not None:
        return Container.MP3
    return Container.ADTS if _is_adts(head) else None


def other_name(file: InputFile) -> str | None:
    """Name a container that is known and not taken."""
    head = file.read_at(0, 32)
    form = head[8:12]
    if head[:4] in _RIFF_FORMS and form.isalnum():
        return f"RIFF {form.decode()}"
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)


# ISO 11172-3 and 13818-3, section 2.4.2.3: kbit/s of layer III by index, for MPEG 1 and for MPEG 2 and 2.5.
_MP3_KBPS: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MP3_RATES_HZ: Final = (44_100, 48_000, 32_000)
_MP3_DIVISOR: Final = {3: 1, 2: 2, 0: 4}  # of the rates, by the two bits of the version; 1 is reserved
_LAYER_3: Final = 1
_MP3_HEADER_BYTES: Final = 4
_MP3_SYNC: Final = 0x7FF
_MP3_FIXED: Final = 0xFFFE_0C00  # what no frame of a stream changes


def mp3_start(file: InputFile, at: int = 0) -> int | None:
    """Find the first MP3 frame that a second one follows, or the file's end; None where there is none near.

    A tag (ID3) is taken as such a beginning, whatever follows it.
    """
    head = file.read_at(at, _HEAD_BYTES)
    if head.startswith(_MP3_TAG):
        return 0
    for start in range(len(head) - _MP3_HEADER_BYTES):
        length = _mp3_frame_bytes(head, start)
        if length is None:
            continue
        follows = file.read_at(at + start + length, _MP3_HEADER_BYTES)
        if not follows or _is_same_mp3(head[start : start + _MP3_HEADER_BYTES], follows):
            return start
    return None


def mp3_knows_length(file: InputFile, start: int) -> bool:
    """Tell whether the MP3 stream that begins there opens with a frame that says how many follow."""
    head = file.read_at(start, 10)
    if head.startswith(_MP3_TAG) and len(head) == 10:  # noqa: PLR2004  (the tag's header)
        # Its length is in seven bits of each byte (ID3v2.4, section 3.1).
        start += 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    frame = file.read_at(start, 64)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def _is_same_mp3(header: bytes, follows: bytes) -> bool:
    """Tell whether a frame of the same version, layer and rate follows."""
    same = (int.from_bytes(header) ^ int.from_bytes(follows)) & _MP3_FIXED == 0
    return same and _mp3_frame_bytes(follows, 0) is not None


def _mp3_frame_bytes(head: bytes, at: int) -> int | None:
    """Length of the layer III frame whose header stands there; None where none does."""
    header = int.from_bytes(head[at : at + _MP3_HEADER_BYTES])
    version, layer = header >> 19 & 3, header >> 17 & 3
    kbps_index, rate_index, padding = header >> 12 & 15, header >> 10 & 3, header >> 9 & 1
    is_header = header >> 21 == _MP3_SYNC and layer == _LAYER_3 and version in _MP3_DIVISOR
    if not is_header or not 0 < kbps_index < 15 or rate_index == 3:  # noqa: PLR2004  (the reserved values)
        return None
    rate_hz = _MP3_RATES_HZ[rate_index] // _MP3_DIVISOR[version]
    second = version != 3  # noqa: PLR2004  (3 is MPEG 1)
    return (72 if second else 144) * _MP3_KBPS[second][kbps_index] * 1000 // rate_hz + padding


def _is_adts(head: bytes) -> bool:
    """Tell whether an AAC frame of ISO 13818-7 stands there, and a second one behind it."""
    frame = 0
    for _ in range(2):
        at = head[frame : frame + 7]
        if len(at) < 7 or at[0] != 0xFF or at[1] & 0xF6 != 0xF0:  # noqa: PLR2004  (a header is 7 bytes)
            return False
        frame += (at[3] & 3) << 11 | at[4] << 3 | at[5] >> 5
    return True
