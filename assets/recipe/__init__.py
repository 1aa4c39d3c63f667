"""Rebuilds the embedded model and its style adapters from public icon sets, stage by stage.

Run the stages in this order; each resumes from its last checkpoint in the work folder (`--work`, default `.work`):

    python -m assets.recipe.data          fetch nine icon sets and draw them          3 minutes
    python -m assets.recipe.autoencoder   pictures <-> latents                        1 hour
    python -m assets.recipe.clip          words <-> pictures, contrastive             20 minutes
    python -m assets.recipe.base          denoiser and text, on frozen latents        8 hours
    python -m assets.recipe.padding       two nouns side by side, for the denoiser    30 minutes
    python -m assets.recipe.base --pairs 0.7    once more, to learn to read them      2 hours
    python -m assets.recipe.data --size 256     the same icons, larger                3 minutes
    python -m assets.recipe.decoder train       256 px from the same latents          80 minutes
    python -m assets.recipe.decoder export --to FOLDER    the model with that, for assets/model
    python -m assets.recipe.adapters      the styles, by training                5 minutes a style
    python -m assets.recipe.judge         a classifier of real icons                  1 hour
    python -m assets.recipe.evaluate      the table of the model card                 20 minutes
    python -m assets.recipe.few           what is learnt from few pictures            2 hours
    python -m assets.recipe.turbo train      few steps without guidance                1 hour
    python -m assets.recipe.turbo measure    what that comes to                        30 minutes
    python -m assets.recipe.contact       concepts x styles on one sheet              2 minutes

The times are those of a processor that multiplies bfloat16 (AVX-512 BF16, AMX). On others all runs in float32, which
takes three times as long and more, and Muon has the linear layers of `base` only.

`pip install -r assets/recipe/requirements.txt` first; `npm` must be on the path. Nothing here is needed to run the app.
"""
