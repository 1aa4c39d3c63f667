"""Train the denoiser on frozen latents, the text encoders with it: one look (Noto), one picture a concept, and pairs.

    python -m assets.recipe.base [--minutes 300] [--processes 2] [--export]

v-prediction with zero terminal SNR (Lin et al. 2023, arXiv:2305.08891), a tenth of the captions dropped for
classifier-free guidance, averaged weights. Each process runs one thread, all on the same weights in shared memory.
The layers of the text encoders learn too, at the same rate: contrastive training knew captions of one thing only, and
what its encoders made of a second noun told the denoiser colours but no shape. Their token embeddings stay as they are.
A third of the steps have captions of one to three chunks, filled with praise: people write long prompts.
Goes on from `base.pt` in the work folder, or else from the weights in `assets/model`. Samples are painted to
`base.png` every ten minutes; `--export` writes the averaged weights to `assets/model` and trains nothing.
"""

import os
from functools import partial

import numpy as np
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from torch import nn

from assets.recipe import autoencoder, clip
from assets.recipe.captions import caption, filler
from assets.recipe.common import MODEL, PRECISION, Average, Clock, arguments, load, mixed, quick, save
from assets.recipe.data import Icon, concepts, halved, over

BATCH, PEAK, SHIFTS, BACKGROUNDS = 24, 4e-4, 3, 3
# Muon's direction is a mean over twenty steps: to take it each second step, twice as far, saves a sixth of the time.
EVERY = 2
# Shares of plain, moved and coloured copies where there is one thing: what moves is learnt more slowly.
MIX = np.array((0.9, 0.04, 0.06))
JOINED = ("{} and {}", "a {} and a {}", "{}, {}", "a {} next to a {}", "the {} and the {}", "{} with {}")
# Nearly all captions end within so many tokens; the padding after them costs a fifth of a step.
SHORT = 24
COLOURS = {
    "red": (214, 48, 49), "orange": (245, 150, 40), "yellow": (250, 219, 90), "green": (76, 175, 80),
    "blue": (66, 133, 244), "light blue": (173, 216, 240), "purple": (142, 85, 190), "pink": (248, 187, 208),
    "brown": (121, 85, 72), "grey": (158, 158, 158), "black": (20, 20, 20), "dark blue": (24, 40, 92),
}  # fmt: skip
UNET = dict(
    sample_size=16,
    in_channels=8,
    out_channels=8,
    layers_per_block=1,
    block_out_channels=(64, 128, 256),
    down_block_types=("CrossAttnDownBlock2D",) * 3,
    up_block_types=("CrossAttnUpBlock2D",) * 3,
    cross_attention_dim=320,
    attention_head_dim=(2, 4, 8),
    norm_num_groups=16,
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=32,
    projection_class_embeddings_input_dim=192 + 6 * 32,
)
# What SDXL calls original size, crop corner and target size: always the whole picture here.
TIME_IDS = (128, 128, 0, 0, 128, 128)
NOISE = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
)
SAMPLES = (
    "a red apple", "penguin", "rocket", "a dog", "pizza", "house", "guitar", "sunflower", "a cat", "green apple",
    "blue book", "smiling face with sunglasses", "elephant", "fire engine", "a banana", "castle", "butterfly",
    "umbrella", "sun behind cloud", "octopus", "soccer ball", "birthday cake", "airplane",
    "a red apple on a blue background",
)  # fmt: skip


class Learner(nn.Module):
    """What learns together: the denoiser and the two text encoders."""

    def __init__(self, work, weights: dict | None = None):
        """With `weights`, or with the shipped ones, or with a fresh denoiser."""
        super().__init__()
        self.words, self.text_encoder, self.text_encoder_2 = clip.trained(work)
        shipped = weights is None and (MODEL / "unet").exists()
        self.unet = UNet2DConditionModel.from_pretrained(MODEL / "unet") if shipped else UNet2DConditionModel(**UNET)
        if weights is not None:
            self.load_state_dict(weights)
        for encoder in (self.text_encoder, self.text_encoder_2):
            encoder.set_attn_implementation("eager")
            encoder.get_input_embeddings().requires_grad_(False)
        quick(self.unet)

    def encode(self, texts: list[str], length: int = 77) -> tuple[torch.Tensor, torch.Tensor]:
        """Captions -> hidden states N x length x 320 and pooled N x 192, as the SDXL pipeline computes them."""
        ids = self.words(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        with mixed():
            a, b = (e(ids, output_hidden_states=True) for e in (self.text_encoder, self.text_encoder_2))
        hidden = torch.cat([a.hidden_states[-2], b.hidden_states[-2]], -1)
        return hidden.float(), b.text_embeds.float()


@torch.no_grad()
def encode_pictures(work, pictures: np.ndarray) -> torch.Tensor:
    """Pictures N x 128 x 128 x 3 (uint8) -> latents N x 8 x 16 x 16, unscaled."""
    vae = autoencoder.needed(work)
    batches = torch.from_numpy(pictures).permute(0, 3, 1, 2).split(64)
    return torch.cat([vae.encoder(b / 127.5 - 1) for b in batches])


def corpus(work) -> dict:
    """Latents of every concept, computed once into `corpus.pt`.

    `latents` C x V x 8 x 16 x 16 with V = the icon on white, SHIFTS moved copies, BACKGROUNDS coloured grounds, half
    size on the left, half size on the right; `grounds` C x BACKGROUNDS, numbers of COLOURS.
    """
    if (cached := load(work / "corpus.pt")) is not None:
        return cached
    rng, pictures, grounds = np.random.default_rng(0), [], []
    for image in concepts(work).values():
        plain = over(image, np.float32(255))
        pictures += [plain, *(np.roll(plain, rng.integers(-5, 6, 2), (0, 1)) for _ in range(SHIFTS))]
        grounds.append(rng.choice(len(COLOURS), BACKGROUNDS, replace=False))
        pictures += [over(image, np.float32(list(COLOURS.values())[colour])) for colour in grounds[-1]]
        pictures += halves(plain)
    latents = encode_pictures(work, np.stack(pictures).astype(np.uint8))
    scaling = float(1 / latents.std())
    state = {
        "scaling": scaling,
        "latents": (latents * scaling).half().unflatten(0, (len(grounds), -1)),
        "grounds": torch.from_numpy(np.stack(grounds)),
    }
    save(work / "corpus.pt", state)
    return state


def halves(picture: np.ndarray) -> list[np.ndarray]:
    """The picture at half size on white, half way down: once on the left and once on the right."""
    left = np.full_like(picture, 255)
    left[32:96, :64] = halved(picture)
    return [left, np.roll(left, 64, 1)]


def draw_batch(data: dict, icons: list[Icon], rng: np.random.Generator, pairs: float) -> tuple[torch.Tensor, list[str]]:
    """Latents and captions of BATCH random pictures, a share of `pairs`; a tenth of the captions are empty."""
    latents, texts = [], []
    for kind, row in zip(rng.choice(4, BATCH, p=[*(1 - pairs) * MIX, pairs]), rng.integers(len(icons), size=BATCH)):
        seen, text = data["latents"][row], caption(icons[row], rng)
        if kind == 0:
            latents.append(seen[0])
        elif kind == 1:
            latents.append(seen[1 + rng.integers(SHIFTS)])
        elif kind == 2:
            ground = rng.integers(BACKGROUNDS)
            latents.append(seen[1 + SHIFTS + ground])
            text = f"{icons[row].label.lower()} on a {list(COLOURS)[data['grounds'][row, ground]]} background"
        else:
            other = rng.integers(len(icons))
            latents.append(pair(data, row, other))
            text = joined(icons[row], icons[other], rng.integers(len(JOINED)))
        texts.append(text if rng.random() >= 0.1 else "")
    return torch.stack(latents).float(), texts


def pair(data: dict, left: int, right: int) -> torch.Tensor:
    """Two icons of half size side by side: both stand on white, where the encoder sees nothing of the other one."""
    return torch.cat([data["latents"][left, -2, ..., :8], data["latents"][right, -1, ..., 8:]], -1)


def joined(left: Icon, right: Icon, way: int) -> str:
    return JOINED[way].format(left.label.lower(), right.label.lower())


def prolonged(texts: list[str], rng: np.random.Generator) -> list[list[str]]:
    """Captions in one to three chunks, as the app encodes long prompts: each in one of them, praise in the others.

    Half of the captions have praise before them in their own chunk too.
    """
    chunks = [[filler(rng, 60) if text else "" for text in texts] for _ in range(rng.integers(3))]
    begun = [f"{filler(rng, 50)}, {text}" if text and rng.random() < 0.5 else text for text in texts]
    chunks.insert(rng.integers(len(chunks) + 1), begun)
    return chunks


def conditioned(model: Learner, chunks: list[list[str]], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of all chunks end to end, pooled embeddings of the first; zero, for no text, where it is empty."""
    hidden, pooled = zip(*(model.encode(texts, length) for texts in chunks))
    said = torch.tensor([[bool(text)] for text in chunks[0]])
    return torch.cat(hidden, 1) * said[:, None], pooled[0] * said


def velocity_loss(unet, alphas: torch.Tensor, latents, hidden, pooled, rng: torch.Generator) -> torch.Tensor:
    """Mean squared error of the predicted velocity v = sqrt(a) e - sqrt(1 - a) x (Salimans & Ho 2022)."""
    # One time step of four comes from the noisy end, where the silhouette is decided and text counts most, the others
    # from around the middle, where details are: logit-normal (Esser et al. 2024, arXiv:2403.03206).
    noisy = 1 - torch.rand(len(latents), generator=rng).square()
    middle = torch.randn(len(latents), generator=rng).sigmoid()
    step = (torch.where(torch.arange(len(latents)) % 4 == 0, noisy, middle) * 1000).long().clamp(max=999)
    noise = torch.randn(latents.shape, generator=rng)
    return error_at(unet, alphas, step, noise, latents, hidden, pooled)


def error_at(unet, alphas: torch.Tensor, step, noise, latents, hidden, pooled) -> torch.Tensor:
    """That error at given time steps (N) and noise."""
    alpha = alphas[step].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    target = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    added = {"text_embeds": pooled, "time_ids": torch.tensor(TIME_IDS).float().expand(len(latents), -1)}
    with mixed():
        out = unet(noisy, step, hidden, added_cond_kwargs=added).sample
    return (out.float() - target).square().mean()


def optimizers(model: Learner, peak: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for all large matrices and kernels, to be stepped EVERY steps, AdamW for the rest.

    Kernels lie channels last, so that each is a matrix in place: Muon's parameters are views of the module's own.
    """
    learnt = [p for p in model.parameters() if p.requires_grad]
    large = [p for p in learnt if p.ndim > 1 and min(len(p), p[0].numel()) >= 64]
    if PRECISION is torch.float32:
        # Torch's own multiplies in bfloat16 whatever it gets, and kernels would take as long again as the rest.
        torch.optim._muon._zeropower_via_newtonschulz = orthogonal
        large = [p for p in large if p.ndim == 2]
    chosen = set(map(id, large))
    rest, rates = [p for p in learnt if id(p) not in chosen], {"lr": peak, "weight_decay": 0.01}
    momentum = 0.95**EVERY
    muon = torch.optim.Muon([matrix(p) for p in large], **rates, momentum=momentum, adjust_lr_fn="match_rms_adamw")
    for p, flat in zip(large, muon.param_groups[0]["params"]):
        p.register_post_accumulate_grad_hook(partial(_hand_over, flat))
    return [muon, torch.optim.AdamW(rest, **rates, betas=(0.9, 0.99), fused=True)]


def orthogonal(grad: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> torch.Tensor:
    """The nearest matrix with orthonormal rows or columns, roughly, by Newton-Schulz in the gradient's precision."""
    a, b, c = coefficients
    wide = grad.T if len(grad) > grad.shape[1] else grad
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if len(grad) > grad.shape[1] else wide


def matrix(tensor: torch.Tensor) -> torch.Tensor:
    """A weight as a matrix, outputs x the rest; without a copy where kernels lie channels last."""
    return (tensor.detach().permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor.detach()).flatten(1)


def _hand_over(flat: torch.Tensor, parameter: torch.Tensor) -> None:
    grad, parameter.grad = matrix(parameter.grad), None
    flat.grad = grad if flat.grad is None else flat.grad.add_(grad)


def train(args) -> None:
    """Start the workers on one model in shared memory."""
    state = load(args.work / "base.pt") or {"seconds": 0.0, "samples": 0}
    data, icons = corpus(args.work), [*concepts(args.work)]
    shared = Learner(args.work, state.pop("model", None)).share_memory().state_dict()
    count = torch.tensor(state["samples"]).share_memory_()
    torch.multiprocessing.spawn(worker, (args, shared, data, icons, state, count), args.processes)


def worker(rank: int, args, shared: dict, data: dict, icons: list[Icon], state: dict, count: torch.Tensor) -> None:
    """Train the shared weights; no process waits for another (Hogwild, Recht et al. 2011, arXiv:1106.5730).

    Each has its own optimizer. With two of them a gradient is one step old at most, which costs nothing that can be
    measured; averaging gradients cost a third of a step, and made both as slow as the slower one.
    """
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = Learner(args.work)
    model.load_state_dict(shared, assign=True)
    steppers = muon, adamw = optimizers(model, args.peak)
    for stepper, saved in zip(steppers, state.get("optimizers", ())):
        stepper.load_state_dict(saved)
    alphas = DDPMScheduler(**NOISE).alphas_cumprod
    draws = np.random.default_rng([args.seed, rank, state["samples"]])
    rng = torch.Generator().manual_seed(int(draws.integers(2**31)))
    clock, parent, step = Clock(args.minutes, state["seconds"]), os.getppid(), 0
    keep = None if rank else Keeper(args, model, steppers, state, clock)
    # A worker does not outlive the command that was killed.
    while not clock.over and os.getppid() == parent:
        rate = clock.cosine(args.peak, floor=0.02)
        adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"] = rate, rate * EVERY
        latents, texts = draw_batch(data, icons, draws, args.pairs)
        chunks, length = (prolonged(texts, draws), 77) if draws.random() < 1 / 3 else ([texts], SHORT)
        loss = velocity_loss(model.unet, alphas, latents, *conditioned(model, chunks, length), rng)
        loss.backward()
        adamw.step()
        adamw.zero_grad()
        if (step := step + 1) % EVERY == 0:
            muon.step()
            muon.zero_grad()
        count += BATCH
        if keep and keep(loss.item(), int(count)):
            print("errors at t:", errors(Learner(args.work, keep.average.shadow), data, icons, alphas), flush=True)
            paint(args.work, keep.average.shadow)
    # A look takes a minute, in which a run can end; but whoever killed the command may have begun anew.
    if keep and clock.over:
        keep.save(int(count))


class Keeper:
    """What the first worker does beside learning: averages the weights, tells how far it is, writes checkpoints."""

    def __init__(self, args, model: Learner, steppers: list[torch.optim.Optimizer], state: dict, clock: Clock):
        self.file, self.model, self.steppers, self.clock = args.work / "base.pt", model, steppers, clock
        self.average = Average(model, args.average)
        if "average" in state:
            self.average.shadow, self.average.steps = state["average"], 10_000
        self.loss, self.steps, self.saved, self.looked = 1.0, 0, 0.0, clock.run

    def __call__(self, loss: float, samples: int) -> bool:
        """Take note of a step, after `samples` in all. True every ten minutes: it is time to look at the weights."""
        self.average.update(self.model)
        self.steps, self.loss = self.steps + 1, 0.99 * self.loss + 0.01 * loss
        if self.steps % 100 == 0:
            print(f"{samples} samples {self.clock.total / 60:.1f} min loss {self.loss:.4f}", flush=True)
        if self.clock.run - self.saved > 180:
            self.save(samples)
        if look := self.clock.run - self.looked > 600:
            self.looked = self.clock.run
        return look

    def save(self, samples: int) -> None:
        """Write the checkpoint."""
        self.saved = self.clock.run
        now = {"model": self.model.state_dict(), "average": self.average.shadow, "samples": samples}
        now |= {"seconds": self.clock.total, "optimizers": [stepper.state_dict() for stepper in self.steppers]}
        save(self.file, now)


@torch.no_grad()
def errors(model: Learner, data: dict, icons: list[Icon], alphas: torch.Tensor, count: int = 128) -> dict:
    """Mean error of the velocity by time step, always from the same noise: of icons under their names, and of pairs."""
    rng = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(icons), generator=rng)[:count].tolist()
    others, found = rows[1:] + rows[:1], {}
    for kind, latents, texts in (
        ("icons", data["latents"][rows, 0], [icons[row].label.lower() for row in rows]),
        ("pairs", torch.stack([pair(data, *p) for p in zip(rows, others)]),
         [joined(icons[a], icons[b], 0) for a, b in zip(rows, others)]),
    ):  # fmt: skip
        text = model.encode(texts)
        for step in (999, 900, 800, 500, 200):
            noise = torch.randn(latents.shape, generator=rng)
            error = error_at(model.unet, alphas, torch.full((count,), step), noise, latents.float(), *text).item()
            found.setdefault(kind, {})[step] = round(error, 3)
    return found


def assemble(work, weights: dict) -> StableDiffusionXLPipeline:
    """All stages as one diffusers pipeline in float32."""
    model = Learner(work, weights).eval()
    vae = autoencoder.needed(work)
    vae.register_to_config(scaling_factor=corpus(work)["scaling"])
    scheduler = EulerDiscreteScheduler(**NOISE)
    return StableDiffusionXLPipeline(
        vae, model.text_encoder, model.text_encoder_2, model.words, model.words, model.unet, scheduler
    )


def paint(work, weights: dict) -> None:
    """Paint SAMPLES into `base.png`, six a row."""
    pipe = assemble(work, weights)
    pipe.set_progress_bar_config(disable=True)
    rng = [torch.Generator().manual_seed(0) for _ in SAMPLES]
    out = pipe(
        list(SAMPLES), num_inference_steps=20, guidance_scale=3.0, guidance_rescale=0.7, generator=rng, output_type="np"
    )
    grid = (out.images * 255).round().astype(np.uint8).reshape(4, 6, 128, 128, 3).swapaxes(1, 2).reshape(512, 768, 3)
    Image.fromarray(grid).save(work / "base.png")


def export(work) -> None:
    """Write the averaged weights as float16 safetensors to `assets/model`."""
    pipe = assemble(work, load(work / "base.pt")["average"])
    for part in (pipe.unet, pipe.vae):
        part.register_to_config(_name_or_path=None)
    pipe.to(dtype=torch.float16).save_pretrained(MODEL)
    print(sum(f.stat().st_size for f in MODEL.rglob("*.safetensors")) / 1e6, "MB of weights")


def main() -> None:
    parser = arguments(__doc__, minutes=300)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--average", type=float, default=0.995, help="decay of the mean weights; 0.999 in long runs")
    parser.add_argument("--pairs", type=float, default=0.45, help="share of pictures of two things")
    parser.add_argument("--peak", type=float, default=PEAK, help="learning rate before it falls")
    parser.add_argument("--export", action="store_true", help="write the averaged weights to assets/model and stop")
    args = parser.parse_args()
    if args.export:
        return export(args.work)
    train(args)


if __name__ == "__main__":
    main()
