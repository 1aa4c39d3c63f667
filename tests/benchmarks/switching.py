"""Benchmarks 1 to 4: adapters put on, taken off and switched, ours beside diffusers with PEFT on the same UNet.

Both change the weights of one UNet in turn: diffusers wraps its layers and unwraps them again, ours writes into the
same layers. After each comparison the two must predict the same for one input.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file

from lora.adapter import AdapterMix, AdapterUse
from lora.composition import Composer
from lora.library import describe
from tests.benchmarks.ratios import Ratio, Variant, paired

LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
KNOWN = 64


def adaptable(unet: UNet2DConditionModel) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each attention and MLP layer, by its path."""
    return {
        name: (layer.out_features, layer.in_features)
        for name, layer in unet.named_modules()
        if name.endswith(LAYERS) and isinstance(layer, torch.nn.Linear)
    }


def write_adapter(layers: dict[str, tuple[int, int]], path: Path, rank: int, seed: int) -> int:
    """A random adapter on all these layers, in diffusers' layout; returns its number of parameters."""
    rng, tensors = torch.Generator().manual_seed(seed), {}
    for name, (outputs, inputs) in layers.items():
        for part, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            tensors[f"unet.{name}.lora_{part}.weight"] = torch.randn(shape, generator=rng).bfloat16() * 0.02
    save_file(tensors, path)
    return sum(t.numel() for t in tensors.values())


def called(number: int) -> str:
    """An adapter's name in PEFT, which mistakes plain numbers for parts of layers' names."""
    return f"random{number}"


@dataclass
class Subject:
    """A pipeline whose UNet both sides work on, adapter files for it, and a small input for one prediction."""

    pipe: StableDiffusionXLPipeline
    folder: Path
    rank: int
    side: int
    tolerance: float

    def __post_init__(self):
        self.unet = self.pipe.unet
        self.composer = Composer({"unet": self.unet})
        # Now: what diffusers wraps later has other names.
        self.layers = adaptable(self.unet)
        rng, config = torch.Generator().manual_seed(0), self.unet.config
        shape = (2, config.in_channels, self.side, self.side)
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        like = {"dtype": self.unet.dtype}
        self.latents = torch.randn(shape, generator=rng).to(**like)
        self.text = torch.randn(2, 77, config.cross_attention_dim, generator=rng).to(**like)
        self.added = {"text_embeds": torch.randn(2, pooled, generator=rng).to(**like),
                      "time_ids": torch.ones(2, 6, **like)}  # fmt: skip

    def adapter(self, number: int, rank: int | None = None) -> Path:
        """The file of a random adapter."""
        path = self.folder / f"random-{rank or self.rank}-{number}.safetensors"
        if not path.exists():
            write_adapter(self.layers, path, rank or self.rank, number)
        return path

    def mix(self, *numbers: int, rank: int | None = None) -> AdapterMix:
        """Adapters by number at equal weights that add up to 1."""
        return tuple(AdapterUse(describe(self.adapter(n, rank), "folder"), 1 / len(numbers)) for n in numbers)

    @torch.no_grad()
    def predict(self) -> torch.Tensor:
        """One pass of the UNet as it stands."""
        return self.unet(self.latents, 500, self.text, added_cond_kwargs=self.added).sample

    def load(self, *numbers: int) -> None:
        """Put adapters on as diffusers does."""
        for n in numbers:
            self.pipe.load_lora_weights(self.folder, weight_name=self.adapter(n).name, adapter_name=called(n))
        self.pipe.set_adapters([called(n) for n in numbers], [1 / len(numbers)] * len(numbers))

    def clear(self) -> None:
        """The base, without anything of either side. diffusers leaves what it fused to those who do not unfuse."""
        if self.pipe.num_fused_loras:
            self.pipe.unfuse_lora()
        self.pipe.unload_lora_weights()
        self.composer.restore()

    def ours(self, *numbers: int) -> None:
        """Put adapters on as we do, nothing of diffusers' being there."""
        self.clear()
        self.composer.apply(self.mix(*numbers))

    def theirs(self, *numbers: int, fuse: bool = False) -> None:
        """Put adapters on as diffusers does."""
        self.clear()
        self.load(*numbers)
        if fuse:
            self.pipe.fuse_lora()

    def same(self, ours: torch.Tensor, theirs: torch.Tensor) -> bool:
        """Whether two predictions are as close as the precision of the weights allows."""
        return ((ours - theirs).float().norm() / theirs.float().norm()).item() <= self.tolerance


def switch(subject: Subject, pairs: int) -> list[Ratio]:
    """1: from one adapter to another, all files read before, against unloading and loading."""
    before, after = subject.mix(0), subject.mix(1)
    ours = Variant(lambda: subject.composer.apply(after), lambda: subject.ours(0), subject.predict)

    def reload() -> None:
        subject.pipe.unload_lora_weights()
        subject.load(1)

    def reload_fused() -> None:
        subject.pipe.unfuse_lora()
        reload()
        subject.pipe.fuse_lora()

    def hotswap() -> None:
        subject.pipe.load_lora_weights(
            subject.folder, weight_name=subject.adapter(1).name, adapter_name=called(0), hotswap=True
        )

    others = {
        "unload + load": (Variant(reload, lambda: subject.theirs(0), subject.predict), 0.2),
        "unfuse + unload + load + fuse": (
            Variant(reload_fused, lambda: subject.theirs(0, fuse=True), subject.predict),
            0.2,
        ),
        "hotswap": (Variant(hotswap, lambda: subject.theirs(0), subject.predict), 1.0),
    }
    subject.composer.apply(before)
    return [
        paired(1, f"warm switch / diffusers {what}", goal, ours, theirs, pairs, subject.same)
        for what, (theirs, goal) in others.items()
    ]


def known(subject: Subject, pairs: int) -> Iterator[Ratio]:
    """2: a switch with KNOWN adapters in memory against one with two, and the same of PEFT with 8 and 2."""
    few, many = Composer({"unet": subject.unet}), Composer({"unet": subject.unet})
    mixes = [subject.mix(n, rank=1) for n in range(KNOWN)]
    for composer, mine in ((few, mixes[:2]), (many, mixes)):
        for mix in mine:
            composer.apply(mix)
        composer.restore()

    def side(composer: Composer, other: Composer) -> Variant:
        def ready() -> None:
            other.restore()
            composer.apply(mixes[0])

        return Variant(lambda: composer.apply(mixes[1]), ready, subject.predict)

    subject.clear()
    yield paired(2, f"switch with {KNOWN} in memory / with 2", 1.05, side(many, few), side(few, many), pairs,
                 torch.equal)  # fmt: skip
    few.restore()
    many.restore()

    def peft(count: int) -> Variant:
        def ready() -> None:
            subject.theirs(*range(count))
            subject.pipe.set_adapters(called(0))

        return Variant(lambda: subject.pipe.set_adapters(called(1)), ready, subject.predict)

    yield paired(2, "(diffusers: with 8 loaded / with 2)", 1.05, peft(8), peft(2), pairs, subject.same)


def on_and_off(subject: Subject, pairs: int) -> list[Ratio]:
    """3: put on and take off against fuse and unfuse, and whether the base comes back.

    Another mix is on in between, so that ours has to merge; what it costs where the same mix comes back is told apart.
    """
    mix, other_mix = subject.mix(0, 1), subject.mix(2, 3)
    # Every 20th layer tells as much, and SDXL's UNet need not be held twice.
    watched = [layer for name, layer in subject.unet.named_modules() if name in subject.layers][::20]
    base = [layer.weight.clone() for layer in watched]
    subject.composer.apply(mix)

    def ours() -> None:
        subject.composer.apply(mix)
        subject.composer.restore()

    def another_before() -> None:
        subject.clear()
        subject.composer.apply(other_mix)
        subject.composer.restore()

    def theirs() -> None:
        subject.pipe.fuse_lora()
        subject.pipe.unfuse_lora()

    def shown(put_on: Callable[[], None]) -> Callable[[], torch.Tensor]:
        def show() -> torch.Tensor:
            put_on()
            return subject.predict()

        return show

    mine = Variant(ours, another_before, shown(lambda: subject.ours(0, 1)))
    again = Variant(ours, subject.clear, mine.shows)
    other = Variant(theirs, lambda: subject.theirs(0, 1), shown(lambda: subject.theirs(0, 1, fuse=True)))
    ratios = [
        paired(3, f"put on + take off{what} / fuse + unfuse", 0.2, side, other, pairs, subject.same)
        for what, side in (("", mine), (" the last mix again", again))
    ]
    for name, side in (("ours", mine), ("diffusers", other)):
        subject.clear()
        with torch.no_grad():
            for layer, weight in zip(watched, base):
                layer.weight.copy_(weight)
        side.ready()
        side.run()
        subject.clear()
        drift = max((layer.weight - weight).float().abs().max().item() for layer, weight in zip(watched, base))
        print(f"after put on + take off by {name} the weights are off by at most {drift:.2g}", flush=True)
    return ratios


def steps(subject: Subject, pairs: int) -> list[Ratio]:
    """4: one pass of the UNet with adapters on, by us and by PEFT, against one without."""
    plain, ratios = Variant(subject.predict, subject.clear), []
    for count in (1, 3, 5):
        numbers = range(count)
        sides = {
            "step with {} / with none": Variant(subject.predict, lambda n=numbers: subject.ours(*n)),
            "(PEFT: step with {} / with none)": Variant(subject.predict, lambda n=numbers: subject.theirs(*n)),
        }
        assert subject.same(*(side.outcome() for side in sides.values())), f"{count} adapters"
        for what, side in sides.items():
            ratios.append(paired(4, what.format(count), 1.01, side, plain, pairs, lambda a, b: not torch.equal(a, b)))
    return ratios


BENCHMARKS = {1: switch, 2: known, 3: on_and_off, 4: steps}
