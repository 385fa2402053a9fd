"""The released weights of SAM3 from the Hugging Face hub, which hands them out only after its terms were accepted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg_tools.errors import ModelError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = "facebook/sam3"
FILE = "sam3.pt"
PAGE = f"https://huggingface.co/{REPOSITORY}"

BY_HAND = f"put {FILE} of {PAGE} anywhere and set GEOSEG_SAM3_CHECKPOINT=FILE"
_ACCEPT = f"accept the terms on {PAGE}"
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


def download(fetch: Callable[..., str] | None = None) -> Path:
    """The file of the released weights, in the hub's own cache; taken from there when it is there and up to date.

    Args:
        fetch: as `huggingface_hub.hf_hub_download`, which is the default; called with `repo_id` and `filename`.

    Raises:
        WeightsError: the hub refuses or cannot be reached; the hint says what to do.
        ModelError: huggingface_hub is not installed.
    """
    fetch = fetch or _client()
    try:
        return Path(fetch(repo_id=REPOSITORY, filename=FILE))
    except Exception as error:  # the client raises OSError, httpx's and its own; all mean that there is no file
        why, remedy = _reason(error)
        raise WeightsError(
            f"the weights of SAM3 could not be fetched: {why}", hint=f"{remedy}; or {BY_HAND}"
        ) from error


def _client() -> Callable[..., str]:
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - not needed with a local file
    except ImportError as error:
        raise ModelError(
            "the weights of SAM3 come through huggingface_hub, which is not installed",
            hint=f"pip install 'geoseg-agent[models]'; or {BY_HAND}",
        ) from error
    client: Callable[..., str] = hf_hub_download
    return client


def _reason(error: Exception) -> tuple[str, str]:
    from huggingface_hub import errors  # noqa: PLC0415 - as in _client

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"{REPOSITORY} asks who you are", f"{_ACCEPT}, {_LOG_IN}, then try again"
    if isinstance(error, errors.GatedRepoError) or status == 403:
        if "awaiting" in str(error):
            return f"access to {REPOSITORY} was asked for and is not granted yet", "wait until it is, then try again"
        return (
            f"{REPOSITORY} is not open to this account",
            f"{_ACCEPT} with the account of the token, {_LOG_IN} of it, then try again",
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | ConnectionError):
        return "the hub cannot be reached and the file is not in its cache", "go online (is HF_HUB_OFFLINE set?)"
    if isinstance(error, errors.RepositoryNotFoundError | errors.EntryNotFoundError):
        return f"there is no {FILE} in {REPOSITORY}", f"{_ACCEPT}, {_LOG_IN}, then try again"
    return _first_line(error), "try again"


def _first_line(error: Any) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
