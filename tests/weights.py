"""What a model's weights are and do, to compare."""

import torch


def snapshot(components) -> list[torch.Tensor]:
    return [v.clone() for m in components.adaptable().values() for v in m.state_dict().values()]


def same(components, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(snapshot(components), before))


def outputs(unet, encoder) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, 77, unet.config.cross_attention_dim, generator=rng)
    added = (
        {"text_embeds": torch.ones(1, 32), "time_ids": torch.ones(1, 6)} if unet.config.addition_embed_type else None
    )
    with torch.no_grad():
        picture = unet(torch.randn(1, 4, 16, 16, generator=rng), 500, hidden, added_cond_kwargs=added).sample
        return [picture, encoder(torch.tensor([[1, 2, 3]])).last_hidden_state]
