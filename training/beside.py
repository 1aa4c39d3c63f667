"""Adapters that are on a denoiser while another one is learnt, so that it gets on with them."""

from collections.abc import Sequence
from pathlib import Path

from lora.adapter import AdapterUse
from lora.composition import Composer
from lora.errors import InvalidRequest
from lora.library import describe
from pipeline.families import Components


class Beside:
    """At most one of these files on the denoiser, at weight 1, merged into its weights.

    Made before there are adapter layers; those that are put around the denoiser's own then see what is on these. Raises
    UnreadableAdapter, UnfitAdapter, and InvalidRequest for one that changes more than the denoiser: text is encoded
    once for all.
    """

    def __init__(self, components: Components, files: Sequence[Path]):
        self._composer = Composer({components.family.denoiser: components.denoiser})
        self._uses = [AdapterUse(describe(file, "folder")) for file in files]
        for use in self._uses:
            (applied,) = self._composer.apply((use,))
            self._composer.restore()
            if applied.unmatched:
                raise InvalidRequest("beside", use.adapter.path.name, "an adapter of the denoiser alone")

    @property
    def hashes(self) -> list[str]:
        """One of each file."""
        return [use.adapter.sha256 for use in self._uses]

    def put_on(self, number: int | None) -> None:
        """This one, and no other; none where it is None. What is on must stay so until a loss has been worked back."""
        self._composer.apply(() if number is None else (self._uses[number],))

    def take_off(self) -> None:
        """Give the denoiser its own weights back."""
        self._composer.restore()
