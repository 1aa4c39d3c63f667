"""What whoever runs the app at home is told once: that there is a model of real pictures, a download away."""

import logging
import threading

import httpx2
import torch
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import OfflineModeIsEnabled

from pipeline.profiles import LAPTOP_PROFILE, ModelProfile
from serving.settings import Settings

SECONDS = 3.0
WORDS = "Real {width} px pictures on this machine: start it with PROFILE={name}. {download}."
log = logging.getLogger(__name__)


def is_offered(profile: ModelProfile, settings: Settings) -> bool:
    """Whether the one who reads it can do it: runs the small model on a machine of their own, and may ask the Hub."""
    small = profile.name == "embedded" and not torch.cuda.is_available() and not settings.ray_address
    return small and settings.only_here and not constants.HF_HUB_OFFLINE


class Offer:
    """`words` are empty until the Hub is known to be in reach."""

    def __init__(self) -> None:
        self.words = ""

    def ask(self) -> threading.Thread:
        """Ask the Hub, in a thread that nobody waits for, whether it has the model."""
        # A daemon: looking a name up can take longer than an app that is ended at once would wait.
        thread = threading.Thread(target=self._ask, name="offer", daemon=True)
        thread.start()
        return thread

    def _ask(self) -> None:
        made = LAPTOP_PROFILE
        try:
            api = HfApi(constants.ENDPOINT, token=False)
            api.model_info(made.base, revision=made.revision, timeout=SECONDS)
        except (OSError, ValueError, httpx2.HTTPError, OfflineModeIsEnabled) as error:
            log.debug("the Hub is out of reach: %s", error)
            return
        download = made.download.words if made.download else ""
        self.words = WORDS.format(width=made.limits.width, name=made.name, download=download)
