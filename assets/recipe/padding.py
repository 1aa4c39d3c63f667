"""Teach the text encoders to say two things side by side, in the padding after the caption.

    python -m assets.recipe.padding [--minutes 30]

The denoiser reads what to draw from the end of the caption and the padding after it, and there the first of two nouns
drowned the second. So each place of a caption of two things is to have the state that it has under one of them alone,
by turns the first (even places) and the second (odd ones), moved by MARK to either side so that the denoiser can tell
whose it is. Captions of one thing, the words themselves and the pooled embedding are to stay as they were.
Begins with what `assets.recipe.base` has learnt in the work folder, or else with the weights in `assets/model`, and at
its end puts the new encoders there, for the denoiser to learn them by `assets.recipe.base`. What was stopped goes on.
"""

from copy import deepcopy

import numpy as np
import torch
from tqdm import tqdm

from assets.recipe.base import JOINED, SHORT, Learner, joined
from assets.recipe.captions import caption, long_caption
from assets.recipe.common import Clock, arguments, load, save
from assets.recipe.data import Icon, concepts

BATCH, PEAK = 48, 1e-3
# A random direction, a third as long as the states.
MARK = torch.nn.functional.normalize(torch.randn(320, generator=torch.Generator().manual_seed(1)), dim=0) * 20
# No name is longer, so that from here on there is only padding after one.
AFTER = 14


class Teacher:
    """The states that the denoiser knows, and those that captions of two things are to have."""

    @torch.no_grad()
    def __init__(self, model: Learner, icons: list[Icon]):
        self.model, self.icons = model, icons
        labels = [icon.label.lower() for icon in icons]
        self.alone = torch.cat([model.encode(labels[i : i + 64])[0] for i in range(0, len(labels), 64)])

    @torch.no_grad()
    def two(self, pairs: np.ndarray, ways: np.ndarray, length: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        """Captions of N x 2 concepts, and their hidden states N x length x 320 and pooled N x 192 as they are to be."""
        texts = [joined(self.icons[a], self.icons[b], way) for (a, b), way in zip(pairs, ways)]
        hidden, pooled = self.model.encode(texts, length)
        places = torch.arange(length)
        even, known = places % 2 == 0, places.clamp(min=AFTER)
        for states, text, (a, b) in zip(hidden, texts, pairs):
            first, second = self.alone[a, known] + MARK, self.alone[b, known] - MARK
            end = min(len(self.model.words(text).input_ids), length) - 1
            states[end:] = torch.where(even[:, None], first, second)[end:]
        return texts, hidden, pooled


def draw(teacher: Teacher, rng: np.random.Generator, length: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """BATCH captions, the first half of two things, and what is to be said to the denoiser under each."""
    count, half = len(teacher.icons), BATCH // 2
    texts, *two = teacher.two(rng.integers(count, size=(half, 2)), rng.integers(len(JOINED), size=half), length)
    wording = long_caption if rng.random() < 0.1 else caption
    single = [wording(teacher.icons[i], rng) for i in rng.integers(count, size=BATCH - half)]
    with torch.no_grad():
        one = teacher.model.encode(single, length)
    return texts + single, *(torch.cat(both) for both in zip(two, one))


def missed(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean squared error as a share of the variance."""
    return (found - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean()


def train(args) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    base, path = load(args.work / "base.pt") or {"seconds": 0.0, "samples": 0}, args.work / "padding.pt"
    model = Learner(args.work, base.get("average"))
    teacher = Teacher(deepcopy(model), [*concepts(args.work)])
    learnt = [p for e in (model.text_encoder, model.text_encoder_2) for p in e.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=PEAK, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    if state := load(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    bar = tqdm(initial=state["steps"] if state else 0, unit="step", mininterval=10)
    clock, saved, rng = Clock(args.minutes), 0.0, np.random.default_rng([args.seed, bar.n])
    while not clock.over:
        for group in optimizer.param_groups:
            group["lr"] = clock.cosine(PEAK)
        texts, hidden, pooled = draw(teacher, rng, 77 if rng.random() < 1 / 3 else SHORT)
        two, one = step(model, optimizer, texts, hidden, pooled)
        bar.update()
        bar.set_postfix(two=f"{two:.3f}", one=f"{one:.3f}")
        if clock.run - saved > 180:
            saved = clock.run
            save(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "steps": bar.n})
    # What the optimizers knew of the former encoders is not kept.
    base.pop("optimizers", None)
    save(args.work / "base.pt", base | dict.fromkeys(("model", "average"), model.state_dict()))
    path.unlink(missing_ok=True)


def step(
    model: Learner, optimizer, texts: list[str], hidden: torch.Tensor, pooled: torch.Tensor
) -> tuple[float, float]:
    """One step towards these states; how much was missed of those of two things, and of one."""
    found = model.encode(texts, hidden.shape[1])
    two, one = (missed(found[0][part], hidden[part]) for part in (slice(BATCH // 2), slice(BATCH // 2, None)))
    (two + one + missed(found[1], pooled)).backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return two.item(), one.item()


if __name__ == "__main__":
    train(arguments(__doc__, minutes=30).parse_args())
