"""Prompt text -> what the UNet is conditioned on, by one or two CLIP text encoders.

CLIP reads 77 tokens, two of them marks: a longer prompt is cut into chunks of 75 tokens, each encoded by itself, the
results laid end to end. A prompt of one chunk gives what diffusers' `encode_prompt` gives, bit for bit.
"""

from dataclasses import dataclass

import torch

from lora.errors import TooLong
from pipeline.models import Components

MAX_CHUNKS = 8


@dataclass(frozen=True)
class Conditioning:
    """`hidden` 1 x (77 * chunks) x D, the encoders' states side by side; `pooled` 1 x P of the first chunk (SDXL)."""

    hidden: torch.Tensor
    pooled: torch.Tensor | None


@dataclass(frozen=True)
class TokenizedPrompt:
    """`tokens` in reading order without the marks; `chunks` for each text encoder, a list of 77 ids each."""

    tokens: tuple[str, ...]
    chunks: tuple[tuple[tuple[int, ...], ...], ...]

    def public(self) -> dict:
        """For callers. Nothing is ever dropped: a prompt over the cap is refused."""
        return {"tokens": len(self.tokens), "chunks": len(self.chunks[0]), "dropped": []}


def tokenize(tokenizers: tuple, prompt: str) -> TokenizedPrompt:
    """Cut a prompt into chunks. Raises InvalidRequest above MAX_CHUNKS chunks."""
    texts = [tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids for tokenizer in tokenizers]
    room = tokenizers[0].model_max_length - 2
    count = max(1, *(-(-len(ids) // room) for ids in texts))
    if count > MAX_CHUNKS:
        raise TooLong("prompt", f"{len(texts[0])} tokens long", f"text of at most {MAX_CHUNKS * room} tokens")
    chunks = tuple(
        tuple(_marked(tokenizer, ids[i * room : (i + 1) * room], room) for i in range(count))
        for tokenizer, ids in zip(tokenizers, texts)
    )
    return TokenizedPrompt(tuple(tokenizers[0].convert_ids_to_tokens(texts[0])), chunks)


def _marked(tokenizer, ids: list[int], room: int) -> tuple[int, ...]:
    padding = [tokenizer.pad_token_id] * (room - len(ids))
    return (tokenizer.bos_token_id, *ids, tokenizer.eos_token_id, *padding)


@torch.no_grad()
def encode(components: Components, prompt: str, chunks: int = 1) -> Conditioning:
    """Encode one text, filled up with empty chunks to at least `chunks`."""
    text = tokenize(components.tokenizers, prompt)
    missing = chunks - len(text.chunks[0])
    empty = tokenize(components.tokenizers, "").chunks if missing > 0 else ()
    hidden, pooled = [], None
    for i, encoder in enumerate(components.text_encoders):
        parts = []
        for ids in text.chunks[i] + (empty[i] * missing if empty else ()):
            out = encoder(torch.tensor([ids], device=components.device), output_hidden_states=True)
            # SDXL takes the states before the last layer, SD 1.5 the last ones after the final norm.
            parts.append(out.hidden_states[-2] if components.family == "sdxl" else out.last_hidden_state)
            # Only the encoder with a projection pools; the first chunk speaks for the whole prompt.
            pooled = getattr(out, "text_embeds", None) if pooled is None else pooled
        hidden.append(torch.cat(parts, 1))
    return Conditioning(torch.cat(hidden, -1), pooled)


def encode_pair(components: Components, prompt: str, negative: str) -> tuple[Conditioning, Conditioning]:
    """(positive, negative), of equal length. An empty negative prompt is zeros where the model was trained so."""
    count = max(len(tokenize(components.tokenizers, text).chunks[0]) for text in (prompt, negative))
    positive = encode(components, prompt, count)
    if negative or not components.zero_empty_negative:
        return positive, encode(components, negative, count)
    pooled = None if positive.pooled is None else torch.zeros_like(positive.pooled)
    return positive, Conditioning(torch.zeros_like(positive.hidden), pooled)
