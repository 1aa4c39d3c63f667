"""Train the judge: a small classifier of real icons, with one head for the concept and one for the style.

    python -m assets.recipe.judge [--minutes 25]

It never sees a generated picture. It is trained on every icon set and on the computed looks, on each picture also as
the autoencoder gives it back, and tells its own accuracy on the tenth of the icons that it was not shown (chosen by a
hash of concept and set). The concept is read at 64 px, the style, which lives in fine detail, at 128 px. Goes on from
`judge.pt` in the work folder; writes `assets/recipe/judge.safetensors`.
"""

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from assets.recipe import autoencoder
from assets.recipe.common import Average, Clock, arguments, load, mixed, save
from assets.recipe.data import concepts, over, read
from assets.recipe.styles import STYLES, image

WEIGHTS = Path(__file__).with_name("judge.safetensors")
BATCH, PEAK = 64, 2e-3
# Drawn in a way that is neither the base's nor an adapter's.
OTHERS = ("noto-v1", "twemoji", "emojione", "fxemoji")
LOOKS = ("base", *STYLES, *OTHERS)


class Judge(nn.Module):
    """Pictures N x 3 x 128 x 128 in -1..1 -> logits of concepts N x C and of styles N x len(LOOKS)."""

    def __init__(self, concepts: int):
        super().__init__()
        self.concept = nn.Sequential(
            *layers((32, 2), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2)), nn.Flatten(), nn.Dropout(0.3),
            nn.Linear(256 * 16, 192), nn.GELU(), nn.Linear(192, concepts),
        )  # fmt: skip
        self.texture = nn.Sequential(*layers((32, 2), (48, 1), (64, 2), (96, 2), (128, 2)))
        self.style = nn.Linear(2 * 128, len(LOOKS))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.name(F.avg_pool2d(pictures, 2)), self.manner(pictures)

    def name(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits of concepts for pictures N x 3 x 64 x 64."""
        return self.concept(pictures).float()

    def manner(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits of styles for pictures N x 3 x 128 x 128."""
        features = self.texture(pictures).flatten(2)
        return self.style(torch.cat([features.mean(2), features.amax(2)], 1)).float()


def layers(*outputs: tuple[int, int]) -> list[nn.Module]:
    """Convolutions from three channels to these, at these strides."""
    made, width = [], 3
    for out, stride in outputs:
        made += [nn.Conv2d(width, out, 3, stride, 1), nn.BatchNorm2d(out), nn.GELU()]
        width = out
    return made


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """N x H x W x 3 uint8 -> N x 3 x H x W in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1


def unseen(name: str, look: str) -> bool:
    """Whether the judge is not shown this icon in training."""
    return int(sha256(f"{name}/{look}".encode()).hexdigest(), 16) % 10 == 0


def collect(work: Path) -> dict:
    """All pictures with their labels, computed once into `judge-data.pt`.

    `pictures` and `seen_through` (the same through the autoencoder) N x 128 x 128 x 3 uint8; `concept`, `style` N;
    `unseen` N.
    """
    if (cached := load(work / "judge-data.pt")) is not None:
        return cached
    known, rows = [icon.name for icon in concepts(work)], []
    vae = autoencoder.needed(work).to(memory_format=torch.channels_last)
    number = {name: i for i, name in enumerate(known)}
    plain, through = [], []
    for style, look in enumerate(LOOKS):
        source = STYLES[look].source if look in STYLES else "noto" if look == "base" else look
        draw = STYLES[look].look if look in STYLES else lambda icon: over(icon, np.float32(255))
        found = {icon.name: picture for icon, picture in zip(*read(work)[source]) if icon.name in known}
        whole = np.stack([np.asarray(image(draw(picture))) for picture in found.values()])
        plain.append(whole)
        through.append(seen_through(vae, whole))
        rows += [(number[name], style, unseen(name, look)) for name in found]
    concept, styles, left_out = (torch.tensor(column) for column in zip(*rows))
    state = {
        "names": known,
        "pictures": torch.from_numpy(np.concatenate(plain)),
        "seen_through": torch.from_numpy(np.concatenate(through)),
        "concept": concept,
        "style": styles,
        "unseen": left_out,
    }
    save(work / "judge-data.pt", state)
    return state


@torch.no_grad()
def seen_through(vae, pictures: np.ndarray) -> np.ndarray:
    """Pictures N x 128 x 128 x 3 (uint8) as the autoencoder gives them back."""
    parts = []
    with mixed():
        for part in np.array_split(pictures, max(1, len(pictures) // 32)):
            seen = to_input(part).contiguous(memory_format=torch.channels_last)
            back = vae.decoder(vae.encoder(seen)).float().clamp(-1, 1)
            parts.append(((back + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def moved(pictures: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Shifted, scaled and slightly tinted copies: what leaves both the concept and the style what they are."""
    count = len(pictures)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + 0.15 * (torch.rand(count, generator=rng) * 2 - 1)
    theta[:, :, 2] = 0.15 * (torch.rand(count, 2, generator=rng) * 2 - 1)
    grid = F.affine_grid(theta, pictures.shape, align_corners=False)
    out = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return out + 0.04 * torch.randn(count, 3, 1, 1, generator=rng)


def disturbed(pictures: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Strongly tinted, blurred or noisy copies: what leaves the concept what it is."""
    count = len(pictures)
    out = pictures * (1 + 0.15 * torch.randn(count, 3, 1, 1, generator=rng))
    soft = F.avg_pool2d(out, 3, 1, 1)
    out = torch.where(torch.rand(count, 1, 1, 1, generator=rng) < 0.3, soft, out)
    return out + 0.15 * torch.rand(count, 1, 1, 1, generator=rng) * torch.randn(out.shape, generator=rng)


def train(args) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    data, path = collect(args.work), args.work / "judge.pt"
    model = Judge(len(data["names"])).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.05, fused=True)
    state = load(path) or {"seconds": 0.0, "steps": 0}
    if "model" in state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    average, clock, step, saved = Average(model, 0.998), Clock(args.minutes, state["seconds"]), state["steps"], 0.0
    rng, shown = torch.Generator().manual_seed(args.seed + step), torch.nonzero(~data["unseen"])[:, 0]
    # What adapters paint it sees twice as often as what is only there to be told from it.
    shown = torch.cat([shown, shown[data["style"][shown] <= len(STYLES)]])
    while not clock.over:
        for group in optimizer.param_groups:
            group["lr"] = clock.cosine(PEAK)
        rows = shown[torch.randint(len(shown), (BATCH,), generator=rng)]
        source = data["seen_through" if torch.rand((), generator=rng) < 0.5 else "pictures"]
        with mixed():
            pictures = moved(to_input(source[rows].numpy()), rng)
            style = model.manner(pictures.contiguous(memory_format=torch.channels_last))
            smaller = disturbed(F.avg_pool2d(pictures, 2), rng)
            concept = model.name(smaller.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(concept, data["concept"][rows], label_smoothing=0.1)
        loss = loss + F.cross_entropy(style, data["style"][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(model)
        step += 1
        if step % 200 == 0:
            print(f"step {step} {clock.total / 60:.1f} min loss {loss.item():.3f}", flush=True)
        if clock.run - saved > 120 or clock.over:
            saved = clock.run
            save(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "steps": step,
                        "seconds": clock.total})  # fmt: skip
    finish(data, average.shadow)


def finish(data: dict, weights: dict) -> None:
    """Write the averaged weights in half precision and tell how good they are on what they were not shown."""
    floats = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    save_file({k: v.contiguous() for k, v in floats.items()}, WEIGHTS, metadata={"concepts": "\n".join(data["names"])})
    judge, names = trained()
    rows = torch.nonzero(data["unseen"])[:, 0]
    with torch.no_grad():
        parts = [judge(to_input(data["pictures"][part].numpy())) for part in rows.split(256)]
    concept, style = (torch.cat(logits) for logits in zip(*parts))
    right = (concept.topk(5).indices == data["concept"][rows, None]).float()
    same = style.argmax(1) == data["style"][rows]
    for i, look in enumerate(LOOKS):
        of = data["style"][rows] == i
        print(f"{look:28s} {int(of.sum()):4d} icons, concept first {right[of, 0].mean():.0%}, among five "
              f"{right[of].sum(1).mean():.0%}, style {same[of].float().mean():.0%}")  # fmt: skip
    print(f"all {len(rows)} of {len(names)} concepts: first {right[:, 0].mean():.1%}, among five "
          f"{right.sum(1).mean():.1%}, style {same.float().mean():.1%}")  # fmt: skip


def trained() -> tuple[Judge, list[str]]:
    """The judge as it was written, for evaluation, and the concepts' names in the order of its logits."""
    from safetensors import safe_open

    with safe_open(WEIGHTS, "pt") as file:
        names = file.metadata()["concepts"].split("\n")
    judge = Judge(len(names))
    judge.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(WEIGHTS).items()})
    return judge.eval(), names


if __name__ == "__main__":
    train(arguments(__doc__, minutes=25).parse_args())
