"""A mix as one adapter file, which at weight 1 is the mix."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from lora.adapter import AdapterMix
from lora.composition import Composer
from lora.deltas import LoraDelta, merged
from lora.errors import InvalidRequest
from lora.files import sha256
from lora.formats import MAX_RANK
from lora.names import is_text


@dataclass(frozen=True)
class Exported:
    """What was written. `error` is ||dW - B A|| / ||dW|| over all layers, 0 where nothing had to be cut off.

    `exact` counts layers whose factors were only put side by side, `reduced` those cut to `rank`.
    """

    path: Path
    sha256: str
    rank: int
    exact: int
    reduced: int
    error: float

    def public(self) -> dict:
        """For callers."""
        return {
            "sha256": self.sha256,
            "rank": self.rank,
            "exact": self.exact,
            "reduced": self.reduced,
            "error": self.error,
        }


@torch.no_grad()
def export(
    composer: Composer,
    mix: AdapterMix,
    path: Path,
    rank: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Write a mix, as of its first step, as a LoRA in diffusers' layout, float32.

    Plain LoRAs stay exact, the rank of the result being the sum of theirs, and so do biases and norms. Other kinds,
    and all layers of a rank above `rank` where one is given (1..1024), are cut to the largest singular values, the best
    that a rank can do (Eckart & Young 1936); 64 where none is given. Raises AdapterError, or InvalidRequest for a mix
    that changes nothing.
    """
    if rank is not None and not 1 <= rank <= MAX_RANK:
        raise InvalidRequest("rank", rank, f"a whole number from 1 to {MAX_RANK}")
    tensors: dict[str, torch.Tensor] = {}
    exact, lost, total, ranks = 0, 0.0, 0.0, []
    changed = composer.changed(mix)
    if not changed:
        raise InvalidRequest("adapters", None, "a mix that changes the model")
    for (component, layer), (original, terms) in changed.items():
        # Files have always said text_model, whichever the version of transformers.
        name = f"{component}.{_with_text_model(layer) if is_text(component) else layer}"
        if original.ndim == 1:
            # A bias or a norm's scale: no factors can be of it, and files keep it whole.
            change = merged(original, terms) - original.float()
            tensors[f"{name.removesuffix('.bias')}.{'diff_b' if name.endswith('.bias') else 'w_norm'}"] = change.cpu()
            exact, total = exact + 1, total + float(change.double().square().sum())
            continue
        up, down, cut, size = _factors(original, terms, rank)
        exact, lost, total = exact + (cut is None), lost + (cut or 0.0), total + size
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = down.contiguous(), up.contiguous()
        ranks.append(down.shape[0])
    styles = ", ".join(f"{use.adapter.name} {use.weight:g}" for use in mix)
    own = {"modelspec.title": styles, "atelier.mix": ", ".join(f"{u.adapter.sha256} {u.weight:g}" for u in mix)}
    words = dict.fromkeys(word for use in mix for word in use.adapter.triggers)
    own |= {"format": "pt", "modelspec.trigger_phrase": ", ".join(words)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=own | dict(metadata or {}))
    error = (lost / total) ** 0.5 if total else 0.0
    return Exported(path, sha256(path), max(ranks, default=0), exact, len(changed) - exact, error)


def _factors(original: torch.Tensor, terms: list, rank: int | None) -> tuple:
    """(up, down, squared norm of what was cut off or None, squared norm of dW), alpha being the rank."""
    stacked = sum(delta.rank for delta, _ in terms)
    if all(isinstance(delta, LoraDelta) for delta, _ in terms) and stacked <= (rank or MAX_RANK):
        factors = [(*delta.factors(), weight * delta.scale) for delta, weight in terms]
        up = torch.cat([scale * up for up, _, scale in factors], 1)
        down = torch.cat([down for _, down, _ in factors])
        # ||B A||^2 without the product: the trace of (B^T B)(A A^T).
        size = float(((up.T @ up) * (down @ down.T)).sum())
        return _as_layer(up, original.shape, True), _as_layer(down, original.shape, False), None, size
    change = (merged(original, terms) - original.float()).flatten(1).cpu()
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    keep = min(rank or 64, len(values))
    half = values[:keep].sqrt()
    up, down = left[:, :keep] * half, half[:, None] * right[:keep]
    squares = values.double().square()
    sizes = float(squares[keep:].sum()), float(squares.sum())
    return _as_layer(up, original.shape, True), _as_layer(down, original.shape, False), *sizes


def _as_layer(factor: torch.Tensor, shape: torch.Size, up: bool) -> torch.Tensor:
    """A factor in the form of its layer's kind: linear as it is, convolution with its kernel in the down factor."""
    if len(shape) == 2:
        return factor
    return factor[:, :, None, None] if up else factor.view(-1, *shape[1:])


def _with_text_model(layer: str) -> str:
    return layer if layer.startswith("text_projection") else f"text_model.{layer}"
