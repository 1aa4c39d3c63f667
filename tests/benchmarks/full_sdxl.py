"""SDXL at its true size, random weights: does it load, take an adapter on every layer, step, and how do adapters cost?

    python -m tests.benchmarks.full_sdxl [--folder DIR] [--only 1 2 3 4] [--pairs 5] [--train]

With `--only`, benchmarks of `switching` on it instead; with `--train`, what a step of training at 1024 px takes.

Writes 5 GB to a temporary folder and needs 12 GB of memory. The text encoders have SDXL's widths but two layers each;
the UNet is the real one: 2.57 billion parameters in bfloat16. Prints the figures; fails if the base does not return.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora.adapter import AdapterUse
from lora.composition import Composer
from lora.library import describe
from pipeline.profiles import load, load_profile
from pipeline.sampling import schedulers
from pipeline.sampling.denoise import denoise
from pipeline.sampling.latents import Randomness
from pipeline.text import conditioning
from tests import tiny
from tests.benchmarks.ratios import HEADER
from tests.benchmarks.switching import BENCHMARKS, Subject, adaptable, write_adapter
from training import Example, TrainingConfig, TrainingSlice, train_slice

UNET = dict(
    sample_size=128,
    block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=(1, 2, 10),
    attention_head_dim=(5, 10, 20),
    cross_attention_dim=2048,
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)


def random_unet() -> UNet2DConditionModel:
    """SDXL's UNet, its weights drawn in bfloat16 without ever being float32."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNET)
    unet = unet.to(torch.bfloat16).to_empty(device="cpu")
    rng = torch.Generator().manual_seed(0)
    for name, weight in unet.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.5 * weight[0].numel() ** -0.5, generator=rng)
        else:
            torch.nn.init.constant_(weight, float("norm" in name and name.endswith("weight")))
    return unet


def text_config(words, width: int, heads: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=width, num_hidden_layers=2,
        num_attention_heads=heads, projection_dim=1280,
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip


def write_model(folder: Path) -> Path:
    first, second = tiny.tokenizer(folder / "t1"), tiny.tokenizer(folder / "t2", pad="!")
    encoders = CLIPTextModel(text_config(first, 768, 12)), CLIPTextModelWithProjection(text_config(second, 1280, 20))
    noise = EulerDiscreteScheduler(**tiny.NOISE, timestep_spacing="leading", steps_offset=1)
    pipe = StableDiffusionXLPipeline(tiny.vae(levels=2), *encoders, first, second, random_unet(), noise)
    pipe.save_pretrained(folder / "model")
    return folder / "model"


def timed(what: str, action):
    start = time.perf_counter()
    result = action()
    print(f"{what:52s} {time.perf_counter() - start:8.2f} s", flush=True)
    return result


@torch.no_grad()
def one_step(components) -> torch.Tensor:
    """The latents after the first of 30 steps at 256 px."""
    scheduler, timesteps = schedulers.prepare("Euler", components.scheduler_config, 30, components.family.ays)
    random = Randomness.of(0)
    texts = conditioning.Conditioner(components)("red apple", "", 30)
    # The tiny VAE halves instead of dividing by eight: 64 px of its are 32 x 32 latents, SDXL's 256 px.
    noise = random.noise(components, 64, 64) * scheduler.init_noise_sigma
    steps = denoise(components, scheduler, timesteps, texts, noise, guidance_scales=[5] * 30, rng=random.rng)
    return next(steps).latents


def compare(model: Path, folder: Path, only: list[int], pairs: int) -> None:
    """Benchmarks 1 to 4 on one thread, with adapters of rank 16 on every attention and MLP layer."""
    torch.set_num_threads(1)
    pipe = StableDiffusionXLPipeline.from_pretrained(model, dtype=torch.bfloat16)
    subject = Subject(pipe, folder, rank=16, side=16, tolerance=2e-2)
    print(HEADER)
    for number in only:
        for ratio in BENCHMARKS[number](subject, pairs):
            print(ratio.row(), flush=True)


def train_a_step(components) -> None:
    """Memory of a step at batch 1 with gradient checkpointing, of which the base itself is a part."""
    torch.set_num_threads(1)
    # Of the tiny VAE's 256 px the UNet sees as much as of SDXL's 1024.
    examples = tuple(Example(Image.new("RGB", (256, 256), colour), (colour,)) for colour in ("red", "navy", "gold"))
    options = dict(trigger="x", steps=2, batch_size=1, rank=16, gradient_checkpointing=True, precision="bfloat16")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work = TrainingSlice(examples, TrainingConfig(**options), None, 3600.0, 1)
    *_, state = timed("one step of training, with what comes before it", lambda: [*train_slice(components, work)])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"most memory before {before / 2**20:.1f} GiB, with training {after / 2**20:.1f} GiB")
    learnt, data = state.adapter.parameters, len(state.data)
    print(f"{learnt:,} numbers learnt, {data / 2**20:.0f} MiB to go on from, loss {state.losses[-1]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep the model here and use it again")
    parser.add_argument("--only", type=int, nargs="+", choices=BENCHMARKS, help="benchmarks of adapters to run instead")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--train", action="store_true", help="a step of training instead")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        model = (
            folder / "model" if (folder / "model").exists() else timed("write the model", lambda: write_model(folder))
        )
        if args.only:
            return compare(model, folder, args.only, args.pairs)
        profile = load_profile(base_model=str(model))
        components = timed("load by BASE_MODEL", lambda: load(profile, torch.bfloat16))
        if args.train:
            return train_a_step(components)
        base_size = sum(p.numel() for p in components.denoiser.parameters())
        size = write_adapter(adaptable(components.denoiser), folder / "big.safetensors", 16, 1)
        print(f"UNet {base_size / 1e9:.2f} B parameters, adapter {size / 1e6:.1f} M = {100 * size / base_size:.2f} %")
        base = timed("one guided step at 256 px, base", lambda: one_step(components))
        composer = Composer(components.adaptable())
        mix = (AdapterUse(describe(folder / "big.safetensors", "folder"), 0.8),)
        (applied,) = timed("put the adapter on (read, keep W0, merge)", lambda: composer.apply(mix))
        print(f"matched {applied.matched} layers, unmatched {len(applied.unmatched)}")
        styled = timed("one guided step at 256 px, with the adapter", lambda: one_step(components))
        timed("take it off", composer.restore)
        again = timed("one guided step at 256 px, base again", lambda: one_step(components))
        changed = (styled - base).abs().max().item()
        finite, equal = bool(torch.isfinite(styled).all()), torch.equal(base, again)
        print(f"finite {finite}, changed by {changed:.3g}, base equal {equal}")
        assert finite and equal and changed > 0


if __name__ == "__main__":
    main()
