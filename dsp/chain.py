"""Chains: what a chain file may say, and what is left when all of it is decided for one call."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from dsp.audio import Pause
from dsp.errors import UnknownChain, UnknownRendition
from dsp.stages import REGISTRY, NormalizeLoudness, Stage

OUTPUT_VERSION: Final = 1
"""Raised whenever the same chain gives other samples; part of every digest."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _read_stage(told: object) -> object:
    """Read ``{normalize: {target_lufs: -16}}``, or a bare ``normalize``."""
    if isinstance(told, Stage):
        return told
    if isinstance(told, str):
        told = {told: {}}
    if not isinstance(told, dict) or len(told) != 1:
        raise ValueError(
            "a stage is written as one name with its options, as in - normalize: {target_lufs: -16}"
        )
    (name, options), *_ = told.items()
    if name not in REGISTRY:
        raise ValueError(f"no stage is called {name!r}; there are {', '.join(REGISTRY)}")
    return REGISTRY[name].model_validate(options or {})


def _write_stage(stage: Stage) -> dict[str, Any]:
    return {stage.name: stage.model_dump(mode="json")}


StageSpec = Annotated[Stage, BeforeValidator(_read_stage), PlainSerializer(_write_stage)]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class RenditionSpec(_Spec):
    """One output of a chain."""

    format: Literal["flac", "wav"] = "flac"
    """flac or wav, 16 bit."""
    layout: Literal["source", "mono", "split"] = "source"
    """source: channels as recorded; mono: mixed to one; split: a file a channel."""
    stages: tuple[StageSpec, ...] | None = None
    """Stages of its own; left out: those of the chain."""


class ChainSpec(_Spec):
    """A chain as a chain file writes it."""

    channels: Literal["auto", "independent", "linked"] = "auto"
    """independent: each channel is levelled alone; linked: all by one gain; auto: independent where the event names
    roles, else linked."""
    stages: tuple[StageSpec, ...] = ()
    """What is done, in order."""
    renditions: Annotated[dict[Name, RenditionSpec], Field(min_length=1)] = Field(
        default_factory=lambda: {"listen": RenditionSpec()}
    )
    """The outputs, by name."""
    mute_pauses: bool = False
    """Whether the event's pauses are silenced in the outputs."""


class TenantSpec(_Spec):
    """What a tenant gets where its events do not say."""

    chain: Name
    """Name of a chain of this file."""


class ResolvedRendition(_Spec):
    """One output with its own stages."""

    name: str
    format: Literal["flac", "wav"]
    layout: Literal["source", "mono", "split"]
    stages: tuple[StageSpec, ...]


class ResolvedChain(_Spec):
    """A chain with everything decided: the same input gives the same bytes.

    Attributes:
        name: as the chain file has it; no part of the digest.
        channels: independent or linked.
        renditions: the outputs, in order.
        mute_s: spans to silence, as (start, end) in seconds.
    """

    name: str
    channels: Literal["independent", "linked"]
    renditions: tuple[ResolvedRendition, ...]
    mute_s: tuple[tuple[float, float], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the canonical form and OUTPUT_VERSION; another spelling has the same digest."""
        told = self.model_dump(mode="json", exclude={"name"})
        canonical = json.dumps(
            {"chain": told, "output_version": OUTPUT_VERSION},
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    @property
    def target_lufs(self) -> float | None:
        """Loudness that the first rendition aims at, in LUFS; None where it is not normalized."""
        for stage in self.renditions[0].stages:
            if isinstance(stage, NormalizeLoudness):
                return stage.target_lufs
        return None

    def only(self, names: tuple[str, ...]) -> ResolvedChain:
        """Keep the named renditions, in the order of the names. Raises UnknownRendition."""
        there = {rendition.name: rendition for rendition in self.renditions}
        for name in names:
            if name not in there:
                raise UnknownRendition(
                    f"Chain {self.name!r} has no rendition {name!r}; it has {', '.join(there)}."
                )
        return self.model_copy(update={"renditions": tuple(there[name] for name in names)})

    def to_json(self) -> dict[str, Any]:
        """Give the chain as plain JSON types."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """Read what ``to_json`` gave. Raises pydantic.ValidationError."""
        return cls.model_validate(told)


class ChainFile(_Spec):
    """A chain file: chains by name, and which of them each tenant gets."""

    version: Literal[1]
    """Version of this format."""
    default: Name | None = None
    """Chain of tenants that are not named; left out: the first one."""
    chains: Annotated[dict[Name, ChainSpec], Field(min_length=1)]
    """The chains, by name."""
    tenants: dict[str, TenantSpec] = Field(default_factory=dict)
    """What single tenants get, by tenant id."""

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        named = [("default", self.default)] if self.default else []
        named += [(f"tenants.{tenant}.chain", spec.chain) for tenant, spec in self.tenants.items()]
        for where, name in named:
            if name not in self.chains:
                raise ValueError(f"{where} names the chain {name!r}; there are {', '.join(self.chains)}")
        return self

    def resolve(
        self,
        *,
        chain: str | None = None,
        tenant: str = "default",
        named_roles: bool = False,
        pauses: tuple[Pause, ...] = (),
    ) -> ResolvedChain:
        """Decide everything for one call: the event's chain, else the tenant's, else the default one.

        Raises:
            UnknownChain: no chain has the name that the event gives.
        """
        own = self.tenants.get(tenant)
        name = chain or (own.chain if own else None) or self.default or next(iter(self.chains))
        spec = self.chains.get(name)
        if spec is None:
            raise UnknownChain(f"No chain is called {name!r}; there are {', '.join(self.chains)}.")
        by_roles: Literal["independent", "linked"] = "independent" if named_roles else "linked"
        return ResolvedChain(
            name=name,
            channels=by_roles if spec.channels == "auto" else spec.channels,
            renditions=tuple(
                ResolvedRendition(
                    name=rendition_name,
                    format=rendition.format,
                    layout=rendition.layout,
                    stages=spec.stages if rendition.stages is None else rendition.stages,
                )
                for rendition_name, rendition in spec.renditions.items()
            ),
            mute_s=tuple((pause.start_s, pause.end_s) for pause in pauses) if spec.mute_pauses else (),
        )
