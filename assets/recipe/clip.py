"""Train the two CLIP text encoders against pictures, before there is a denoiser for them to learn with.

    python -m assets.recipe.clip [--minutes 20]

Both encoders are trained contrastively with one small convolutional image encoder (Radford et al. 2021, equation in
figure 3), which is thrown away. Trained with the denoiser from the start they learn far more slowly. At the end the
pooled embedding is whitened (see `whiten`). Goes on from `clip.pt` in the work folder, or else from `assets/model`.
The tokenizer is CLIP's own byte-pair list, cut to its first 12,000 merges.
"""

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from assets.recipe.captions import caption, long_caption
from assets.recipe.common import MODEL, Clock, arguments, load, mixed, save
from assets.recipe.data import SETS, Icon, halved, over, read

MERGES, BATCH, PEAK, WIDTH = 12_000, 128, 1e-3, 192


def tokenizer(work: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with 12,514 tokens, written to `assets/model/tokenizer` (and `tokenizer_2`) once."""
    folder = MODEL / "tokenizer"
    if not (folder / "vocab.json").exists():
        wheels = work / "packages"
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            str(wheels),
            "open_clip_torch==3.3.0",
        ]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(wheels.glob("open_clip_torch-*.whl"))) as wheel:
            text = gzip.decompress(wheel.read("open_clip/bpe_simple_vocab_16e6.txt.gz")).decode()
        write_vocabulary(text.split("\n")[1 : MERGES + 1])
    return CLIPTokenizer.from_pretrained(folder)


def write_vocabulary(merges: list[str]) -> None:
    """256 bytes, 256 bytes at a word's end, one token a merge, start and end of text: CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in printable]
    characters = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(hidden))]
    tokens = characters + [c + "</w>" for c in characters] + [m.replace(" ", "") for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    special = {"bos_token": tokens[-2], "eos_token": tokens[-1], "unk_token": tokens[-1], "pad_token": tokens[-1]}
    for name in ("tokenizer", "tokenizer_2"):
        folder = MODEL / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


def text_config(width: int, heads: int) -> CLIPTextConfig:
    size = MERGES + 514
    return CLIPTextConfig(
        vocab_size=size, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=4, num_attention_heads=heads,
        projection_dim=WIDTH, hidden_act="gelu", bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1,
    )  # fmt: skip


class ImageEncoder(nn.Module):
    """64 x 64 picture -> unit vector of `WIDTH`, once for each text encoder."""

    def __init__(self):
        super().__init__()
        layers, width = [], 3
        for out, kernel, stride in ((64, 4, 4), (64, 3, 1), (128, 3, 2), (128, 3, 1), (192, 3, 2)):
            padding = 1 if kernel == 3 else 0
            layers += [nn.Conv2d(width, out, kernel, stride, padding), nn.GroupNorm(8, out), nn.GELU()]
            width = out
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(192 * 16, 2 * WIDTH))

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        return [F.normalize(half.float(), dim=-1) for half in self.layers(pictures).chunk(2, dim=-1)]


class Towers(nn.Module):
    """The two text encoders, the image encoder and the temperature."""

    def __init__(self):
        super().__init__()
        self.text_encoder = CLIPTextModel(text_config(128, 4))
        self.text_encoder_2 = CLIPTextModelWithProjection(text_config(WIDTH, 6))
        self.head = nn.Linear(128, WIDTH, bias=False)
        self.image = ImageEncoder()
        self.temperature = nn.Parameter(torch.tensor(2.5))

    def texts(self, ids: torch.Tensor) -> list[torch.Tensor]:
        first = self.head(self.text_encoder(ids).pooler_output)
        return [F.normalize(t.float(), dim=-1) for t in (first, self.text_encoder_2(ids).text_embeds)]

    def forward(self, pictures: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Contrastive loss, and the share of captions that find their picture in the batch."""
        scale, target = self.temperature.exp().clamp(max=100), torch.arange(len(ids))
        loss, right = 0.0, 0.0
        for text, picture in zip(self.texts(ids), self.image(pictures)):
            logits = scale * text @ picture.T
            loss = loss + (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 4
            right = right + (logits.argmax(1) == target).float().mean() / 2
        return loss, right


def concepts(work: Path) -> list[list[tuple[Icon, np.ndarray]]]:
    """For each name, its pictures in all sets at 64 px (uint8 RGBA); flags left out."""
    found: dict[str, list] = {}
    for name in SETS:
        for icon, picture in zip(*read(work)[name]):
            if icon.group not in (2, 9) and "flag" not in icon.name:
                small = halved(picture).astype(np.uint8)
                found.setdefault(icon.name, []).append((icon, small))
    return list(found.values())


def alike(found: list, rng: np.random.Generator) -> np.ndarray:
    """BATCH different concepts; two times in three all of one group, so that a dog must be told from a wolf."""
    groups = np.array([concept[0][0].group for concept in found])
    large = [g for g in np.unique(groups) if (groups == g).sum() >= BATCH]
    pool = np.flatnonzero(groups == rng.choice(large)) if rng.random() < 2 / 3 else np.arange(len(found))
    return rng.choice(pool, BATCH, replace=False)


def batch(found: list, rng: np.random.Generator, words: CLIPTokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    pictures, texts = np.empty((BATCH, 64, 64, 3), np.float32), []
    write = long_caption if rng.random() < 0.06 else caption
    for row, concept in enumerate(alike(found, rng)):
        icon, picture = found[concept][rng.integers(len(found[concept]))]
        colour = np.full(3, 255) if rng.random() < 0.7 else rng.integers(0, 256, 3)
        whole = over(picture, colour.astype(np.float32))
        pictures[row] = np.roll(whole, rng.integers(-3, 4, 2), (0, 1))
        texts.append(write(icon, rng))
    ids = words(texts, padding=True, truncation=True, return_tensors="pt").input_ids
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1, ids


def train(args) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    path, model, words = args.work / "clip.pt", Towers(), tokenizer(args.work)
    for encoder in (model.text_encoder, model.text_encoder_2):
        # On a CPU the backward pass of the fused attention costs as much as all the rest of a step.
        encoder.set_attn_implementation("eager")
    start(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.05)
    state = load(path) or {"seconds": 0.0, "steps": 0}
    if "model" in state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    clock, step, saved, running = Clock(args.minutes, before=state["seconds"]), state["steps"], 0.0, 0.0
    rng, found = np.random.default_rng(args.seed + step), concepts(args.work)
    while not clock.over:
        for group in optimizer.param_groups:
            group["lr"] = clock.cosine(PEAK)
        pictures, ids = batch(found, rng, words)
        with mixed():
            loss, right = model(pictures, ids)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, running = step + 1, 0.98 * running + 0.02 * right.item()
        if step % 50 == 0:
            print(f"step {step} {clock.total / 60:.1f} min loss {loss.item():.3f} right {running:.3f}", flush=True)
        if clock.run - saved > 120 or clock.over:
            saved = clock.run
            now = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save(path, now | {"steps": step, "seconds": clock.total})


def start(model: Towers) -> None:
    """Begin with the shipped text encoders where there are any: only the image encoder is always new."""
    for name, encoder in (("text_encoder", model.text_encoder), ("text_encoder_2", model.text_encoder_2)):
        nn.init.normal_(encoder.get_input_embeddings().weight, std=0.05)
        if (MODEL / name).exists():
            encoder.load_state_dict(type(encoder).from_pretrained(MODEL / name, dtype=torch.float32).state_dict())


@torch.no_grad()
def whiten(work: Path, encoder: CLIPTextModelWithProjection, words: CLIPTokenizer, floor: float = 0.1) -> None:
    """Make the pooled embeddings of all captions mean 0 and covariance (nearly) 1, in place.

    Contrastive embeddings lie in a narrow cone (Liang et al. 2022, arXiv:2203.02053): of two different names the
    cosine was 0.92, and a denoiser needs long to tell them apart. An affine map is absorbed exactly by the last layer
    norm's bias and the projection; SDXL reads neither for its hidden states. `floor` is the share of the mean variance
    that is added to every direction, so that those that say nothing are not blown up.
    """
    rng = np.random.default_rng(0)
    texts = [caption(icon, rng) for icon in read(work)["noto"][0] for _ in range(4)]
    pooled = torch.cat([
        encoder(words(texts[i : i + 256], padding=True, return_tensors="pt").input_ids).text_embeds
        for i in range(0, len(texts), 256)
    ]).double()  # fmt: skip
    values, axes = torch.linalg.eigh(torch.cov(pooled.T))
    matrix = axes @ torch.diag((values + floor * values.mean()).rsqrt()) @ axes.T
    projection, norm = encoder.text_projection.weight, encoder.text_model.final_layer_norm
    norm.bias -= torch.linalg.solve(projection.double(), pooled.mean(0)).to(norm.bias)
    projection.copy_(matrix @ projection.double())


def trained(work: Path) -> tuple[CLIPTokenizer, CLIPTextModel, CLIPTextModelWithProjection]:
    """Tokenizer and text encoders of the last checkpoint, or the shipped ones."""
    if (state := load(work / "clip.pt")) is None:
        first = CLIPTextModel.from_pretrained(MODEL / "text_encoder", dtype=torch.float32)
        second = CLIPTextModelWithProjection.from_pretrained(MODEL / "text_encoder_2", dtype=torch.float32)
        return tokenizer(work), first.eval(), second.eval()
    model = Towers()
    model.load_state_dict(state["model"])
    words, second = tokenizer(work), model.text_encoder_2.eval()
    whiten(work, second, words)
    return words, model.text_encoder.eval(), second


if __name__ == "__main__":
    train(arguments(__doc__, minutes=20).parse_args())
