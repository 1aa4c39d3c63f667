"""An adapter with which the base paints in a few steps, without guidance, what it paints in many with it.

The teacher is the base itself. It paints once from each prompt with classifier-free guidance, and the whole way from
noise to picture is kept: its trajectory under deterministic steps (DDIM, Song et al. 2021, arXiv:2010.02502). The
student learns from any place on it to be, after one step as long as the few will be, where the teacher was after its
many: progressive distillation (Salimans & Ho 2022, arXiv:2202.00512) in one stage, with guidance distilled in (Meng et
al. 2023, arXiv:2210.03142), as an adapter (LCM-LoRA, Luo et al. 2023, arXiv:2311.05556). LCM and TCD (Zheng et al.
2024, arXiv:2402.19159) hold the student against itself one step of the teacher further on; here the end of each step is
known, so there is nothing to bootstrap, and a guided step is paid once and learnt from as often as it is drawn.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lora.adapter import FewSteps
from lora.errors import InvalidRequest
from lora.inspection import FEW_STEPS
from pipeline.families import Components
from pipeline.sampling.denoise import rescaled
from training.beside import Beside
from training.config import DistillationConfig
from training.dataset import MAX_CAPTION
from training.denoising import Denoising
from training.export import TrainedAdapter
from training.inject import quick_attention
from training.loop import TrainingStep, train

# Presets that go straight from where they are, as it has learnt, the best first. Where the base's own spacing is
# trailing there is "DDIM" alone.
SCHEDULERS = ("TCD", "DDIM SGM uniform", "DDIM")


@dataclass(frozen=True)
class Recorded:
    """So many of the trajectories are there."""

    done: int
    total: int


def read_prompts(file: Path) -> list[str]:
    """The lines of a text file, those that say nothing left out. Raises InvalidRequest."""
    try:
        lines = [" ".join(line.split()) for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest("prompts", file.name, "a text file in UTF-8, with a prompt in each line") from None
    if long := [number for number, line in enumerate(lines, 1) if len(line) > MAX_CAPTION]:
        raise InvalidRequest("prompts", f"line {long[0]} of {file.name}", f"at most {MAX_CAPTION} letters long")
    return [line for line in lines if line]


def distill(
    components: Components,
    prompts: Sequence[str],
    config: DistillationConfig,
    folder: Path,
    checkpoint: Path | None = None,
    paint: Callable[[], Image.Image] | None = None,
    beside: Sequence[Path] = (),
) -> Iterator[Recorded | TrainingStep | TrainedAdapter]:
    """Learn to paint in few steps: yields a Recorded after each batch of trajectories, then what `train` yields.

    Trajectories are kept in `folder`, and those that are there are not made again; so a run that was stopped goes on.
    In half of them one of the adapters `beside` is on teacher and student, in turn: styles live on guidance, and an
    adapter that has learnt the base's alone weakens them. Raises as `train` does, and as Beside for those.
    """
    objective = Distillation(components, prompts, config, folder, Beside(components, beside))

    def paint_without() -> Image.Image:
        assert paint is not None
        objective.beside.take_off()
        return paint()

    try:
        with quick_attention(components.denoiser, objective.latents.shape[-2:].numel(), config):
            for done in objective.record():
                yield Recorded(done, len(objective.rows))
        for event in train(components, (), config, checkpoint, paint and paint_without, objective):
            if isinstance(event, TrainedAdapter):
                hint = f"{config.few_steps} steps, guidance scale 1, scheduler TCD or DDIM with trailing spacing"
                said = json.dumps(dataclasses.asdict(FewSteps(config.few_steps, SCHEDULERS)))
                words = {"modelspec.usage_hint": hint, FEW_STEPS: said}
                event = dataclasses.replace(event, metadata=event.metadata | words)
            yield event
    finally:
        objective.beside.take_off()


class Distillation(Denoising):
    """The teacher's trajectories, kept in a folder, and the loss of a random batch of places on them.

    A place is numbered from 0, pure noise, to `teacher_steps`, the clean picture; `times` are the time steps of all but
    the last, trailing, so that the first is the noisiest there is; `angles` are those of each place, arctan of noise
    over signal, from about pi / 2 to 0.
    """

    source = "prompts"

    def __init__(
        self,
        components: Components,
        prompts: Sequence[str],
        config: DistillationConfig,
        folder: Path,
        beside: Beside,
    ):
        if not prompts:
            raise InvalidRequest("prompts", None, "at least one")
        super().__init__(components, prompts, config)
        self.how, self.folder, self.beside = config, folder, beside
        row = {text: i for i, text in enumerate(self.texts)}
        count = len(prompts) if config.trajectories is None else config.trajectories
        self.rows = [[row[prompts[i % len(prompts)]]] for i in range(count)]
        # Of each adapter at least one batch.
        if count <= (least := (2 * len(beside.hashes) - 2) * config.batch_size):
            raise InvalidRequest("trajectories", count, f"more than {least}, for {len(beside.hashes)} adapters beside")
        self.sha256 = sha256(json.dumps([list(prompts), count, beside.hashes]).encode()).hexdigest()
        self.groups: dict[int | None, list[int]] = {}
        for trajectory in range(count):
            self.groups.setdefault(self.adapter(trajectory), []).append(trajectory)
        side = self.side // components.vae_scale_factor
        self.latents = torch.empty(0, components.latent_channels, side, side, device=components.device)
        total = self.noise.config.num_train_timesteps
        times = torch.arange(total, 0, -total / config.teacher_steps, dtype=torch.float64).round().long() - 1
        alphas = torch.cat([self.noise.alphas_cumprod[times], torch.ones(1)])
        self.times = times.to(components.device)
        self.angles = torch.atan2((1 - alphas).sqrt(), alphas.sqrt()).to(components.device)

    def prepared(self) -> dict:
        """Only what tells others apart: trajectories are in their folder, and texts are soon encoded."""
        return {"data": self.sha256, "base": self.base}

    @torch.no_grad()
    def record(self) -> Iterator[int]:
        """Make the trajectories that are not there yet; yields after each batch how many are."""
        self.folder.mkdir(parents=True, exist_ok=True)
        size = self.how.batch_size
        for start in range(0, len(self.rows), size):
            rows, path = [row for (row,) in self.rows[start : start + size]], self.path(start)
            if not path.exists():
                part = path.with_suffix(".part")
                with part.open("wb") as file:
                    # Of the file's name: other trajectories, other noise, and never that of a seed that people use.
                    rng = torch.Generator().manual_seed(int(path.stem[:15], 16))
                    self.beside.put_on(self.adapter(start))
                    np.save(file, self.trajectories(rows, rng).half().cpu().numpy())
                part.replace(path)
            yield start + len(rows)

    def path(self, trajectory: int) -> Path:
        """The file that holds a trajectory, with the others of its batch; named by all that decides what is in it."""
        how, start = self.how, trajectory // self.how.batch_size * self.how.batch_size
        texts = [self.texts[row] for (row,) in self.rows[start : start + how.batch_size]]
        decides = (self.base, how.teacher_steps, self.guidance, how.guidance_rescale, how.seed, how.precision)
        on = [] if (number := self.adapter(start)) is None else [self.beside.hashes[number]]
        key = json.dumps([*decides, self.side, start, texts, *on])
        return self.folder / f"{sha256(key.encode()).hexdigest()[:32]}.npy"

    def adapter(self, trajectory: int) -> int | None:
        """Which of those beside is on in its batch: none in the first half of the batches, then each in turn."""
        size, number = self.how.batch_size, len(self.beside.hashes)
        later = trajectory // size - -(-len(self.rows) // size) // 2
        return later % number if number and later >= 0 else None

    @property
    def guidance(self) -> float:
        """That of the teacher."""
        own = self.components.family.guidance_scale
        return own if self.how.guidance_scale is None else self.how.guidance_scale

    def trajectories(self, rows: list[int], rng: torch.Generator) -> torch.Tensor:
        """N x (teacher_steps + 1) x C x h x w: the guided teacher's way from noise under each of N texts."""
        noise = torch.randn(len(rows), *self.latents.shape[1:], generator=rng)
        places = [noise.to(self.latents.device)]
        for place in range(self.how.teacher_steps):
            here = torch.full((len(rows),), place)
            velocity = self.velocity(places[-1], here, rows, guided=True)
            places.append(landed(places[-1], velocity, *self.between(here, here + 1)))
        return torch.stack(places, 1)

    def velocity(self, noisy: torch.Tensor, places: torch.Tensor, rows: list[int], guided: bool) -> torch.Tensor:
        """What the denoiser says at N places, as velocity v = cos(angle) noise - sin(angle) picture, N x C x h x w."""
        steps = self.times[places]
        if guided:
            both = self.predict(torch.cat([noisy] * 2), steps.repeat(2), [0] * len(rows) + rows)
            without, toward = both.chunk(2)
            said = rescaled(without + self.guidance * (toward - without), toward, self.how.guidance_rescale)
        else:
            said = self.predict(noisy, steps, rows)
        if self.noise.config.prediction_type == "v_prediction":
            return said
        angle = self.angles[places].view(-1, 1, 1, 1)
        return (said - angle.sin() * noisy) / angle.cos()

    def between(self, places: torch.Tensor, ends: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of the angles from N places to as many ends, each N x 1 x 1 x 1."""
        angle = (self.angles[places] - self.angles[ends]).view(-1, 1, 1, 1)
        return angle.cos(), angle.sin()

    def loss(self, rng: torch.Generator) -> torch.Tensor:
        """The mean pseudo-Huber distance of the student's velocity from the one that lands where the teacher did.

        From each place one step leads a `few_steps`-th of the time steps on, or to the picture. An error of velocity is
        one of landing over the sine of the angle between, whatever the model predicts.
        """
        how, count = self.how, self.how.batch_size
        on = self.adapter(int(torch.randint(len(self.rows), (), generator=rng)))
        self.beside.put_on(on)
        picks = [self.groups[on][i] for i in torch.randint(len(self.groups[on]), (count,), generator=rng).tolist()]
        places = torch.randint(how.teacher_steps, (count,), generator=rng)
        ends = (places + how.teacher_steps // how.few_steps).clamp(max=how.teacher_steps)
        kept = [np.load(self.path(pick), mmap_mode="r")[pick % count] for pick in picks]
        found = (np.stack([way[i] for way, i in zip(kept, at.tolist())]) for at in (places, ends))
        here, there = (torch.from_numpy(latents).float().to(self.latents.device) for latents in found)
        cosine, sine = self.between(places, ends)
        wanted = (cosine * here - there) / sine
        rows = [self.rows[pick][0] for pick in picks]
        error = self.velocity(here, places, rows, guided=False) - wanted
        return ((error.square() + how.huber**2).sqrt() - how.huber).mean()


def landed(latents: torch.Tensor, velocity: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Where a deterministic step over an angle ends (DDIM, as Salimans & Ho 2022 write it in appendix D)."""
    return cosine * latents - sine * velocity
