"""Fetching a model from the Hub: told before it begins, and shown while it lasts."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import OfflineModeIsEnabled

from lora.errors import ModelError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """What of a repository is fetched, once: its `files`, of `gigabytes` (10^9 bytes) in all, under that `licence`."""

    licence: str
    gigabytes: float
    files: tuple[str, ...]

    @property
    def words(self) -> str:
        """For whoever has to decide."""
        return f"{self.licence} licence, {self.gigabytes:g} GB to download once"


def fetched(repo: str, revision: str | None, download: Download) -> str:
    """The folder of a repository's files in the Hub's cache; what is not there yet is fetched. Raises ModelError.

    What is loaded by a folder asks no network at all.
    """
    places = [try_to_load_from_cache(repo, file, revision=revision) for file in download.files]
    here = all(isinstance(place, str) for place in places)
    if not here and not constants.HF_HUB_OFFLINE:
        print(f"Licence of {repo}: {download.licence}, see {constants.ENDPOINT}/{repo}", file=sys.stderr)
        print(f"To download, once: {download.gigabytes:g} GB from {constants.ENDPOINT}", file=sys.stderr, flush=True)
    try:
        places = places if here else [hf_hub_download(repo, file, revision=revision) for file in download.files]
    except (OSError, ValueError, httpx2.HTTPError, OfflineModeIsEnabled) as error:
        log.warning("fetching the base model failed: %s", error)
        mend = "unset HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "see that this machine reaches it"
        raise ModelError(
            f"{repo} could not be fetched from {constants.ENDPOINT}; {mend} and start again, or choose the embedded "
            "profile, which needs no download."
        ) from error
    return str(Path(str(places[0])).parents[download.files[0].count("/")])
