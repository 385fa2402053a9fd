"""Settings: the only place that reads the environment.

Every field can be set as `GEOSEG_` + its name in capitals, or passed to `Settings(...)`, which wins. A name that
starts with GEOSEG_ and means nothing is an error, because a misspelt setting that is silently ignored costs more.
"""

from __future__ import annotations

import difflib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import FRAMES, Dialect
from geoseg_agent.method import VARIANTS, Method, Profile, TextMode, Variant, resolve
from geoseg_tools.keypoints import Normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "GEOSEG_"
SMALLEST_TILE = 64
SECRET = frozenset({"api_key"})


class Settings(BaseSettings):
    """What one Agent works with; frozen and comparable.

    Raises:
        ConfigError: a value is out of its range, or a GEOSEG_ variable is unknown; the message names it.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, validate_default=True
    )

    grounder: str = Field(
        default="auto",
        description="auto | classical | openai | scripted:FILE | replay:FILE | entry point | module:factory",
    )
    tools: str = Field(default="classical", description="classical | models | entry point | module:factory")
    profile: Profile = Field(default="default", description="named set of the method's constants")
    variant: Variant = Field(
        default="full", description="full | clip-sam3 | sam3-text | points | text | no-refinement: what runs of it"
    )

    alpha: float | None = Field(default=None, ge=0, le=10, description="margin left and above, share of the box side")
    beta: float | None = Field(default=None, ge=0, le=10, description="margin right and below, share of the box side")
    k: int | None = Field(default=None, ge=1, le=1000, description="most keypoints per target")
    tau: float | None = Field(default=None, ge=0, le=1, description="smallest similarity of a keypoint")
    heat_norm: Normalise | None = Field(default=None, description="minmax | none")
    gamma: float | None = Field(
        default=None, ge=0, le=1, description="smallest share of the region a valid mask covers"
    )
    min_crop: int | None = Field(
        default=None, ge=0, le=4096, description="shortest side of a region of interest, pixels"
    )
    text_mode: TextMode | None = Field(
        default=None, description="instances | semantic | both: what counts of the answer to a phrase"
    )
    text_threshold: float | None = Field(
        default=None, ge=0, le=1, description="score above which an instance of the phrase counts"
    )

    tile_side: int | None = Field(
        default=None,
        ge=0,
        description="pixels of the tiles of a large region, for toolsets that work on tiles; none or 0: no tiles",
    )

    devices: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        default=None, description="where the models run: auto, cpu, mps, or one instance each on cuda:0,cuda:1"
    )
    clip_model: str = Field(default="openai-b16", description="which CLIP; `geoseg doctor models` lists them")
    clip_checkpoint: Path | None = Field(default=None, description="its weight file; from the hub where none is set")
    clip_templates: Literal["imagenet", "aerial"] = Field(
        default="imagenet", description="wordings that a phrase is put into: imagenet | aerial"
    )
    sam3_checkpoint: Path | None = Field(default=None, description="sam3.pt; from the hub where none is set")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="what SAM3 computes in; auto: bfloat16 on CUDA, else float32"
    )
    compile: bool = Field(default=False, description="compile SAM3 with torch.compile: slower start, faster queries")

    base_url: str | None = Field(default=None, description="the MLLM's OpenAI-compatible endpoint, up to /v1")
    model: str | None = Field(default=None, description="the model's name there; may be left out where there is one")
    api_key: SecretStr | None = Field(default=None, description="the endpoint's key, where it wants one")
    frame: str | None = Field(
        default=None, description="frame of the model's boxes: norm1000 | unit | pixels, with -yxyx where y is first"
    )
    dialect: Dialect | None = Field(default=None, description="tool | json_schema | json_object | plain")
    max_targets: int | None = Field(default=None, ge=1, le=64, description="most targets of one query")
    samples: int = Field(default=1, ge=1, le=32, description="times a model is asked; agreement becomes confidence")
    verify_rounds: int = Field(
        default=0, ge=0, le=3, description="times the model may look at its answer and correct"
    )
    zoom_rounds: int = Field(
        default=2, ge=0, le=4, description="times the model may look closer at a part of a picture shown reduced"
    )
    search: Literal["overview", "tiles", "auto"] = Field(
        default="overview",
        description="overview | tiles | auto: one picture of the image, windows of it, or what suits the query",
    )
    search_calls: int = Field(default=64, ge=1, description="most requests that a search in windows may take")
    stability: int = Field(
        default=0,
        description="0 | 2 | 4: changed copies to run again, within the deadline; their agreement is the confidence",
    )
    attempts: int = Field(default=4, ge=1, le=20, description="most requests for one reply, re-asking included")
    call_timeout: float = Field(default=60.0, gt=0, description="seconds one request may take")
    endpoint_calls: int = Field(default=16, ge=1, description="requests at once on the endpoint")
    max_tokens_total: int | None = Field(default=None, ge=1, description="most tokens one query may cost")
    early_stop: Literal["auto", "on", "off"] = Field(
        default="auto", description="stop reading where the answer ends; auto: on for self-hosted servers"
    )
    cache: Path | None = Field(default=None, description="folder that keeps replies of the model, or none")
    verdicts: Path = Field(
        default=Path("~/.cache/geoseg/verdicts"), description="folder for what `geoseg doctor grounding` finds"
    )

    traces: Path | Literal["none"] = Field(default=Path("traces"), description="folder for traces, or none")
    deadline: float = Field(default=120.0, gt=0, description="seconds a query may take once it is admitted")
    max_running: int = Field(default=64, ge=1, description="queries that run at once; the rest waits its turn")
    max_queued: int | None = Field(default=None, ge=0, description="queries that may wait; one more is refused")
    max_encoded: int = Field(default=2, ge=1, description="encoded crops alive per lane")

    max_pixels: int = Field(
        default=64_000_000,
        ge=1,
        description="largest image that is read as a whole, in pixels; a larger TIFF is opened",
    )
    bands: Annotated[tuple[int, ...] | None, NoDecode] = Field(
        default=None, description="bands to show as red,green,blue, from 1"
    )
    log_format: Literal["console", "json"] = Field(default="console", description="console | json")

    if not TYPE_CHECKING:  # type checkers see the fields as keyword arguments, which this signature would hide

        def __init__(self, **values: Any) -> None:
            _refuse_unknown(type(self).model_fields)
            problem = None
            try:
                super().__init__(**values)
            except ValidationError as error:
                problem = _config_error(error)
            # Raised out here, it does not carry the other error along, which quotes the value: it may be a key.
            if problem is not None:
                raise problem

    @field_validator("bands", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            parts = value.split(",")
            if value != "auto" and not all(part.strip().isdecimal() for part in parts):
                raise ValueError("bands are whole numbers from 1 with commas between them, such as 4,3,2, or auto")
            return None if value == "auto" else tuple(map(int, parts))
        return value

    @field_validator("tile_side", mode="before")
    @classmethod
    def _no_tiles(cls, value: Any) -> Any:
        return 0 if isinstance(value, str) and value.lower() == "none" else value

    @field_validator("tile_side")
    @classmethod
    def _wide_enough(cls, value: int | None) -> int | None:
        if value is not None and 0 < value < SMALLEST_TILE:
            raise ValueError(f"a tile has at least {SMALLEST_TILE} pixels a side; none or 0 switches tiles off")
        return value

    @field_validator("alpha", "beta")
    @classmethod
    def _no_margins(cls, value: float | None, about: ValidationInfo) -> float | None:
        variant = about.data.get("variant", "full")
        if value and not VARIANTS[variant].refines:
            raise ValueError(f"the variant {variant} has no margins: leave this out, or take another variant")
        return value

    @field_validator("stability")
    @classmethod
    def _copies(cls, value: int) -> int:
        if value not in {0, 2, 4}:
            raise ValueError("there are answers from 2 or 4 copies; 0 runs none")
        return value

    @field_validator("devices", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            names = tuple(part.strip() for part in value.split(","))
            if not all(names):
                raise ValueError("devices are names with commas between them, such as cuda:0,cuda:1")
            return None if names == ("auto",) else names
        return value

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an endpoint is http:// or https://, a host, and usually /v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "an address holds no user, password, query or fragment; a key belongs into GEOSEG_API_KEY"
            )
        return value.rstrip("/")

    @field_validator("frame")
    @classmethod
    def _known_frame(cls, value: str | None) -> str | None:
        if value is not None and value not in FRAMES:
            raise ValueError(f"known are {', '.join(FRAMES)}")
        return value

    @field_validator("cache", mode="before")
    @classmethod
    def _no_cache(cls, value: Any) -> Any:
        return None if str(value).lower() == "none" else value

    @field_validator("traces", mode="before")
    @classmethod
    def _no_traces(cls, value: Any) -> Any:
        return "none" if value is None or str(value).lower() == "none" else Path(value)

    def method(self, tool_defaults: dict[str, Any]) -> Method:
        """The method's constants in force with a toolset that declares `tool_defaults`."""
        return resolve(self.profile, tool_defaults, self.model_dump())

    def recorded(self) -> dict[str, Any]:
        """Every field but the secret ones, as JSON values, for traces."""
        return self.model_dump(mode="json", exclude=set(SECRET))


def _refuse_unknown(known: dict[str, Any]) -> None:
    names = {PREFIX + field.upper() for field in known}
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in names:
            # Without the prefix, which would make every name alike.
            bare = name.upper().removeprefix(PREFIX)
            near = difflib.get_close_matches(bare, sorted(field.upper() for field in known), n=1, cutoff=0.5)
            raise ConfigError(
                f"the environment sets {name}, which is no setting",
                hint=f"did you mean {PREFIX}{near[0]}?" if near else f"known are {', '.join(sorted(names))}",
            )


def _config_error(error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else "?"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, sorted(Settings.model_fields), n=1)
        return ConfigError(f"there is no setting {field!r}", hint=f"did you mean {near[0]!r}?" if near else None)
    hidden = field in SECRET or (field == "base_url" and "@" in str(first["input"]))
    value = "(hidden)" if hidden else repr(first["input"])
    known = Settings.model_fields.get(field)
    return ConfigError(
        f"setting {field} (or {PREFIX}{field.upper()}) = {value}: {_plain(first['msg'])}",
        hint=f"{field} is: {known.description}" if known is not None and known.description else None,
    )


def _plain(message: str) -> str:
    """The words of pydantic without what only its users know."""
    message = message.removeprefix("Value error, ").split(", unable to parse")[0]
    return f"must {message.removeprefix('Input should ')}" if message.startswith("Input should ") else message


def quieten_ray() -> None:
    """Keep Ray from telling anybody that it is used; it looks at the environment for that, when it starts."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def ray_address() -> str | None:
    """What RAY_ADDRESS says, which Ray takes where it is told "auto"; None where it says nothing."""
    return os.environ.get("RAY_ADDRESS") or None


@contextmanager
def without_own() -> Iterator[None]:
    """The block without the variables of this package, the key of the endpoint among them, for what it starts."""
    kept = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    for name in kept:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)
