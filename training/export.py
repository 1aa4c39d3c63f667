"""The trained adapter as one safetensors file that diffusers reads, and the curve of its training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from training.config import TrainingConfig
from training.inject import lora_config


@dataclass(frozen=True)
class TrainedAdapter:
    """What training comes to. `tensors` are float16 by their names in the file, `losses` one for each step.

    `share` is that of the learnt numbers among those of the adapted modules, `seconds` the time of this run.
    """

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]
    losses: tuple[float, ...]
    parameters: int
    share: float
    seconds: float

    def data(self) -> bytes:
        """The file. The same adapter gives the same bytes: the safetensors package shuffles the metadata."""
        header: dict[str, object] = {"__metadata__": dict(sorted(self.metadata.items()))}
        bodies, start = [], 0
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            bodies.append(tensor.contiguous().numpy().tobytes())
            end = start + len(bodies[-1])
            header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, end]}
            start = end
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + b"".join(bodies)

    def save(self, path: Path) -> None:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data())


def file_metadata(
    config: TrainingConfig, components: Sequence[str], base: str, pictures: int, data_sha256: str, steps: int
) -> dict[str, str]:
    """What diffusers needs (`lora_adapter_metadata`), and what people and kohya's tools look for. No dates."""
    keys = ("r", "lora_alpha", "use_rslora", "use_dora", "target_modules")
    peft: dict[str, Any] = {}
    for component in components:
        own = lora_config(config, component).to_dict()
        peft |= {f"{component}.{key}": sorted(own[key]) if isinstance(own[key], set) else own[key] for key in keys}
    return {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(peft, sort_keys=True),
        "ss_base_model_version": base,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(config.rank),
        "ss_network_alpha": f"{config.scale_alpha:g}",
        "ss_num_train_images": str(pictures),
        "ss_steps": str(steps),
        "ss_learning_rate": f"{config.learning_rate:g}",
        "ss_seed": str(config.seed),
        "modelspec.title": config.title or config.trigger,
        "modelspec.trigger_phrase": config.trigger,
        "modelspec.license": config.license,
        "modelspec.description": config.description,
        "atelier.data_sha256": data_sha256,
        "atelier.targets": config.targets,
    }


def smooth(losses: Sequence[float], keep: float = 0.97) -> list[float]:
    """Running average of a noisy curve, unbiased at its start."""
    total = weight = 0.0
    curve = []
    for loss in losses:
        total, weight = keep * total + (1 - keep) * loss, keep * weight + (1 - keep)
        curve.append(total / weight)
    return curve


def save_curve(losses: Sequence[float], path: Path) -> None:
    """`step,loss,average` as CSV, and the average drawn into a PNG of the same name."""
    curve = smooth(losses)
    lines = [f"{i},{loss:.6f},{mean:.6f}" for i, (loss, mean) in enumerate(zip(losses, curve), 1)]
    path.with_suffix(".csv").write_text("\n".join(["step,loss,average", *lines]) + "\n")
    width, height, edge, top = 640, 320, 30, max(curve) * 1.05
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    dx, dy = (width - 2 * edge) / max(1, len(curve) - 1), (height - 2 * edge) / top
    draw.line([(edge, edge), (edge, height - edge), (width - edge, height - edge)], fill="grey")
    draw.line([(edge + i * dx, height - edge - loss * dy) for i, loss in enumerate(curve)], fill="royalblue", width=2)
    draw.text((edge + 4, edge - 14), f"loss, top {top:.3f}, last {curve[-1]:.4f}, {len(curve)} steps", fill="black")
    image.save(path.with_suffix(".png"))
