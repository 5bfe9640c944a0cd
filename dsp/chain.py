"""Chains: what a chain file may say, and the one chain that a call gets, with its digest.

``ChainFile.resolve`` decides all that depends on the event, so that a resolved chain says alone, for good and in any
process, which samples come out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from dsp.audio import Pause
from dsp.errors import UnknownChain, UnknownRendition
from dsp.formats import ENCODINGS
from dsp.stages import REGISTRY, NormalizeLoudness, Stage
from dsp.stages.base import Strict, listed, not_known

OUTPUT_VERSION: Final = 2
"""Raised whenever the same chain gives other samples; part of every digest."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Format = Literal["flac", "wav", "mp3", "m4a", "opus"]
Encoding = Literal["pcm_16", "pcm_24", "mulaw"]
Layout = Literal["source", "mono", "split"]


class _StageSpec:
    """How a stage stands in a chain file: ``{normalize: {target_lufs: -16}}``, or a bare ``normalize``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        options: dict[Hashable, CoreSchema] = {
            name: core_schema.no_info_before_validator_function(_options, handler.generate_schema(stage))
            for name, stage in REGISTRY.items()
        }
        return core_schema.no_info_before_validator_function(
            _named,
            core_schema.tagged_union_schema(options, discriminator=_name),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda stage: {stage.name: stage.model_dump(mode="json")}
            ),
        )


def _named(told: Any) -> Any:
    if isinstance(told, Stage):
        return told
    if isinstance(told, str):
        told = {told: {}}
    if not isinstance(told, dict) or len(told) != 1:
        raise PydanticCustomError(
            "stage",
            "a stage is written as one name with its options, as in `- normalize: {target_lufs: -16}`",
        )
    (name,) = told
    if name not in REGISTRY:
        raise not_known("stage", name, REGISTRY, at=(name,))
    return told


def _name(told: Any) -> str:
    return told.name if isinstance(told, Stage) else str(next(iter(told)))


def _options(told: Any) -> Any:
    if isinstance(told, Stage):
        return told
    (options,) = told.values()
    return {} if options is None else options


def _in_order(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    order = list(REGISTRY)
    places = [order.index(stage.name) for stage in stages]
    if places != sorted(set(places)):
        raise PydanticCustomError(
            "stage_order", "stages run in the order {order}, each at most once", {"order": listed(order)}
        )
    return stages


Stages = Annotated[tuple[Annotated[Stage, _StageSpec()], ...], Field(strict=False), AfterValidator(_in_order)]


class _FileSpec(Strict):
    """What a rendition's files are like."""

    added: ClassVar[frozenset[str]] = frozenset({"encoding", "bit_rate_kbps", "sample_rate_hz"})

    format: Format = "flac"
    """``flac``, ``wav``; or with losses ``mp3``, ``m4a`` (AAC), ``opus`` (in Ogg)."""
    layout: Layout = "source"
    """``source``: channels as recorded; ``mono``: mixed to one; ``split``: a file a channel."""
    encoding: Encoding | None = None
    """Of ``wav`` and ``flac``: ``pcm_16``, ``pcm_24``, or ``mulaw`` (``wav`` alone); left out: ``pcm_16``."""
    bit_rate_kbps: Annotated[int, Field(ge=6, le=320)] | None = None
    """Of ``mp3``, ``m4a`` and ``opus``, in kbit/s, 6 to 320; left out: what speech of that rate asks for."""
    sample_rate_hz: Annotated[int, Field(ge=8_000, le=48_000)] | None = None
    """Frames a second, 8000 to 48000; left out: as recorded. A lossy format takes the next rate that it has."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.encoding is not None and self.encoding not in ENCODINGS.get(self.format, ()):
            raise ValueError(f"`{self.format}` has no encoding `{self.encoding}`")
        if self.bit_rate_kbps is not None and self.format in ENCODINGS:
            raise ValueError(f"`{self.format}` loses nothing and has no bit_rate_kbps")
        return self


class RenditionSpec(_FileSpec):
    """One output of a chain."""

    stages: Stages | None = None
    """Stages of its own; left out: those of the chain."""


class ChainSpec(Strict):
    """A chain as a chain file writes it."""

    channels: Literal["auto", "independent", "linked"] = "auto"
    """``independent``: each channel is levelled alone; ``linked``: all by one gain; ``auto``: independent where the
    event names roles, else linked."""
    stages: Stages = ()
    """What is done, in order."""
    renditions: Annotated[dict[Name, RenditionSpec], Field(min_length=1)] = Field(
        default_factory=lambda: {"listen": RenditionSpec()}
    )
    """The outputs, by name."""
    mute_pauses: bool = False
    """Whether the event's pauses are silenced in the outputs."""

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        split = {name for name, rendition in self.renditions.items() if rendition.layout == "split"}
        for name in self.renditions:
            stem, _, index = name.rpartition("-")
            if stem in split and index.isdigit():
                raise ValueError(f"rendition `{name}` has the name of a file of the split rendition `{stem}`")
        return self


class TenantSpec(Strict):
    """What a tenant gets where its events do not say."""

    chain: str
    """Name of a chain of this file."""


class ResolvedRendition(_FileSpec):
    """One output with its own stages."""

    name: Name
    stages: Stages


class ResolvedChain(Strict):
    """A chain with everything decided: the same input gives the same bytes."""

    name: str
    """As the chain file has it; no part of the digest."""
    channels: Literal["independent", "linked"]
    """Whether each channel is levelled alone, or all by one gain."""
    renditions: Annotated[tuple[ResolvedRendition, ...], Field(min_length=1, strict=False)]
    """The outputs, in the file's order."""
    mute_s: Annotated[
        tuple[Annotated[tuple[float, float], Field(strict=False)], ...], Field(strict=False)
    ] = ()
    """Spans to silence, as (start, end) in seconds: ascending, apart from each other."""
    output_version: int = OUTPUT_VERSION
    """The version that the digest promises."""
    part_of: str | None = None
    """Digest of the chain whose renditions these are some of; None: all are here."""

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the canonical form and OUTPUT_VERSION; another spelling has the same digest."""
        if self.part_of is not None:
            return self.part_of
        told = self.model_dump(mode="json", exclude={"name", "part_of"})
        told["renditions"] = {rendition.pop("name"): rendition for rendition in told["renditions"]}
        canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    @property
    def target_lufs(self) -> float | None:
        """Loudness that the first rendition aims at, in LUFS; None where it is not normalized."""
        stages = self.renditions[0].stages
        return next((stage.target_lufs for stage in stages if isinstance(stage, NormalizeLoudness)), None)

    def only(self, names: Sequence[str]) -> Self:
        """Keep the named renditions, in the order of the names; the digest stays that of the whole chain.

        Raises
        ------
        UnknownRendition
            The chain has no rendition of that name.
        """
        there = {rendition.name: rendition for rendition in self.renditions}
        for name in names:
            if name not in there:
                raise UnknownRendition(
                    f"Chain `{self.name}` has no rendition `{name}`; it has {listed(there)}."
                )
        return self.model_copy(
            update={"renditions": tuple(there[name] for name in names), "part_of": self.digest}
        )

    def to_json(self) -> dict[str, Any]:
        """Give the chain as plain JSON types, to be stored with a call and sent to another process."""
        return {**self.model_dump(mode="json"), "digest": self.digest}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """Read what ``to_json`` gave.

        Raises
        ------
        ValueError
            It is no resolved chain, or not the one that its digest names.
        """
        chain = cls.model_validate({key: value for key, value in told.items() if key != "digest"})
        if chain.digest != told.get("digest"):
            raise ValueError(f"chain `{chain.name}`: stored as {told.get('digest')}, read as {chain.digest}")
        return chain


class ChainFile(Strict):
    """A chain file: chains by name, and which of them each tenant gets."""

    version: Literal[1]
    """Version of this format."""
    chains: Annotated[dict[Name, ChainSpec], Field(min_length=1)]
    """The chains, by name."""
    default: str | None = None
    """Chain of tenants that are not named; left out: the first one."""
    tenants: dict[str, TenantSpec] = Field(default_factory=dict)
    """What single tenants get, by tenant id."""

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        named: dict[tuple[str, ...], str] = {
            ("tenants", tenant, "chain"): spec.chain for tenant, spec in self.tenants.items()
        }
        if self.default is not None:
            named["default",] = self.default
        for path, name in named.items():
            if name not in self.chains:
                raise not_known("chain", name, self.chains, at=path)
        return self

    def resolve(
        self,
        *,
        chain: str | None = None,
        tenant: str = "default",
        named_roles: bool = False,
        pauses: Sequence[Pause] = (),
    ) -> ResolvedChain:
        """Decide everything for one call: the event's chain, else the tenant's, else the default one.

        Parameters
        ----------
        chain
            The name that the event gives.
        tenant
            Whose call it is.
        named_roles
            Whether the event says who is heard in which channel; decides ``channels: auto``.
        pauses
            The event's; part of the chain only where it mutes them.

        Raises
        ------
        UnknownChain
            No chain has the name that the event gives.
        """
        own = self.tenants.get(tenant)
        name = chain or (own.chain if own else None) or self.default or next(iter(self.chains))
        spec = self.chains.get(name)
        if spec is None:
            raise UnknownChain(f"There is no chain `{name}`; the chain file has {listed(self.chains)}.")
        by_roles: Literal["independent", "linked"] = "independent" if named_roles else "linked"
        return ResolvedChain(
            name=name,
            channels=by_roles if spec.channels == "auto" else spec.channels,
            renditions=tuple(
                ResolvedRendition(
                    name=rendition_name,
                    **rendition.model_dump(exclude={"stages"}),
                    stages=spec.stages if rendition.stages is None else rendition.stages,
                )
                for rendition_name, rendition in spec.renditions.items()
            ),
            mute_s=tuple(_merged(pauses)) if spec.mute_pauses else (),
        )


def _merged(pauses: Sequence[Pause]) -> Iterator[tuple[float, float]]:
    """Give the pauses ascending, with those that touch made one."""
    start_s, end_s = 0.0, 0.0
    for pause in sorted(pauses, key=lambda pause: pause.start_s):
        if pause.start_s > end_s:
            if end_s > start_s:
                yield start_s, end_s
            start_s = float(pause.start_s)
        end_s = max(end_s, float(pause.end_s))
    if end_s > start_s:
        yield start_s, end_s
