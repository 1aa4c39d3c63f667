"""Words of a prompt that are vectors: read from every layout, as diffusers reads them, private, in text and history."""

import asyncio

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from lora.composition import layers_of, shapes_of
from lora.embeddings import MAX_VECTORS, read_embedding
from lora.errors import AtelierError, InvalidRequest, UnreadableAdapter
from lora.library import Library, describe
from pipeline.engine import Engine
from pipeline.metadata import infotext
from pipeline.metadata.restore import restore
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from pipeline.text.conditioning import Conditioner, encode
from pipeline.text.prompt import parse
from pipeline.text.taught import Taught
from pipeline.text.tokens import FIRST, tokenize
from serving.generation import GenerationService
from serving.queue import FairQueue
from serving.workers.local import LocalWorker
from tests.adapters import save_adapter
from tests.unit.test_sessions import painted

ENCODERS = ("text_encoder", "text_encoder_2")
PROMPT = "a photo of my-cat on a (my-cat:1.3) table"


def widths(components) -> list[int]:
    return [encoder.config.hidden_size for encoder in components.text_encoders]


def vectors(components, count=2, seed=0) -> dict[str, torch.Tensor]:
    """Of one word for each text encoder, as A1111 calls them."""
    rng = torch.Generator().manual_seed(seed)
    names = ("clip_l", "clip_g") if len(components.text_encoders) > 1 else ("emb_params",)
    return {name: torch.randn(count, width, generator=rng) for name, width in zip(names, widths(components))}


def saved(tensors, path):
    save_file(tensors, path)
    return path


def taught(components, path) -> Taught:
    adapter = describe(path, "folder")
    return Taught.of([adapter], ENCODERS[: len(components.text_encoders)], shapes_of(layers_of(components.adaptable())))


@pytest.mark.parametrize("count", [1, 3])
def test_it_reads_as_in_diffusers(model, tmp_path, count):
    folder, components, _ = model
    tensors = vectors(components, count)
    words = taught(components, saved(tensors, tmp_path / "my-cat.safetensors"))
    pipe = DiffusionPipeline.from_pretrained(folder)
    pairs = zip(tensors.values(), (pipe.tokenizer, getattr(pipe, "tokenizer_2", None)),
                (pipe.text_encoder, getattr(pipe, "text_encoder_2", None)))  # fmt: skip
    for tensor, tokenizer, encoder in pairs:
        pipe.load_textual_inversion(tensor, "my-cat", text_encoder=encoder, tokenizer=tokenizer)
    theirs = pipe.encode_prompt(
        prompt="a photo of my-cat on a table", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    ours = encode(components, "a photo of my-cat on a table", 0, words)
    assert torch.allclose(ours.hidden, theirs[0], atol=1e-5)
    if ours.pooled is not None:
        assert torch.allclose(ours.pooled, theirs[2], atol=1e-5)
    assert not torch.allclose(ours.hidden, encode(components, "a photo of my-cat on a table").hidden, atol=1e-2)
    # Nothing stays behind.
    assert torch.equal(encode(components, "a cat").hidden, encode(components, "a cat", 0, words).hidden)


def test_it_has_weights_a_case_of_its_own_and_stays_whole(model, tmp_path):
    _, components, _ = model
    words = taught(components, saved(vectors(components, 30), tmp_path / "my-cat.safetensors"))
    (text,) = parse(PROMPT).parts
    read = tokenize(components.tokenizers, text.at(1, 1), words.words)
    assert read.tokens.count("my-cat[1]") == 2 and read.weights.count(1.3) == 30
    upper = tokenize(components.tokenizers, "MY-CAT", words.words)
    assert len(upper.tokens) == 30 and max(i for i, _ in upper.weighted[0][0]) == FIRST + 29
    assert len(tokenize(components.tokenizers, "tommy-cats", words.words).tokens) < 10
    # 60 before it leave room for 15 of the 30.
    first, second = tokenize(components.tokenizers, "red " * 60 + "my-cat", words.words).weighted[0]
    assert not any(i >= FIRST for i, _ in first) and sum(i >= FIRST for i, _ in second) == 30


def test_the_cache_tells_words_apart(model, tmp_path):
    _, components, _ = model
    conditioner = Conditioner(components)
    one, two = (taught(components, saved(vectors(components, seed=seed), tmp_path / f"{seed}" / "my-cat.safetensors"))
                for seed in (1, 2) if not (tmp_path / f"{seed}").mkdir())  # fmt: skip
    made = [conditioner("my-cat", "", 1, (), 0, words)[0][0].hidden for words in (one, two, one)]
    assert torch.equal(made[0], made[2]) and not torch.equal(made[0], made[1])


def test_every_layout_names_its_words(tmp_path):
    one, two = torch.zeros(2, 8), torch.zeros(2, 16)
    for tensors, words in (
        ({"clip_l": one, "clip_g": two}, {"mine": set(ENCODERS)}),
        ({"text_encoders_0": one, "text_encoders_1": two}, {"mine": set(ENCODERS)}),
        ({"emb_params": one}, {"mine": {"text_encoder"}}),
        ({"string_to_param.*": one}, {"mine": {"text_encoder"}}),
        ({"<my-toy>": one[0].clone()}, {"<my-toy>": {"text_encoder"}}),
    ):
        found = read_embedding(saved(tensors, tmp_path / "mine.safetensors"), "mine")
        assert found and {word: set(parts) for word, parts in found[0].items()} == words


def test_what_is_no_sensible_word_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for tensors in (
        {"clip_l": torch.zeros(2, 8), "clip_g": torch.zeros(3, 8)},
        {"emb_params": torch.zeros(MAX_VECTORS + 1, 8)},
        {"emb_params": torch.zeros(0, 8)},
        {"emb_params": torch.full((1, 8), float("nan"))},
        {f"<{i}>": torch.zeros(1, 8) for i in range(100)},
    ):
        with pytest.raises(UnreadableAdapter, match=r"x\.safetensors has"):
            read_embedding(saved(tensors, path), "x")
    assert read_embedding(saved({"unet.weight": torch.zeros(2, 2)}, path), "x") is None


@pytest.fixture(scope="module")
def engine(tiny_sdxl):
    return Engine(load_profile(base_model=str(tiny_sdxl)))


@pytest.fixture
def service(engine, tmp_path):
    components, composer, _ = engine.load()
    folder = tmp_path / "shared"
    folder.mkdir()
    saved(vectors(components), folder / "my-cat.safetensors")
    # For another model: its word stays a word like others.
    saved({"emb_params": torch.zeros(2, 999)}, folder / "dog.safetensors")
    save_adapter(components, folder / "ink.safetensors", 1)
    bundle = {f"bundle_emb.my-dog.{name}": tensor for name, tensor in vectors(components, seed=5).items()}
    saved(load_file(folder / "ink.safetensors") | bundle, folder / "ink.safetensors")
    library = Library([(folder, "folder")], composer.shapes, "sdxl")
    return GenerationService(LocalWorker(engine), library, FairQueue(8, 4))


def details(service, session="A", **values) -> dict:
    async def last():
        small = {"steps": 1, "seed": 3, "width": 64, "height": 64}
        return [update async for update in service.generate(small | values, session)][-1].details

    return asyncio.run(last())


def test_a_word_of_the_folder_is_listed_counted_and_said(service):
    found = {each.id: each for each in service.library.all()}
    assert set(found) == {"my-cat", "ink"} and found["my-cat"].public()["kind"] == "embedding"
    assert found["my-cat"].triggers == ("my-cat",) and found["ink"].public()["words"] == ["my-dog"]
    assert service.tokenize("a my-cat")["count"] == 3
    said = details(service, prompt="a my-cat", negative_prompt="dog")
    assert [each["word"] for each in said["embeddings"]] == ["my-cat"] and said["tokens"]["tokens"] == 3
    assert details(service, prompt="a cat")["embeddings"] == []
    # What came with a style counts where the style is on.
    assert details(service, prompt="my-dog")["embeddings"] == []
    said = details(service, prompt="my-dog", adapters=[{"id": "ink", "weight": 0.5}])
    assert [each["word"] for each in said["embeddings"]] == ["my-dog"]


def test_it_is_no_style(service):
    with pytest.raises(InvalidRequest, match='embedding: write its word "my-cat" into the prompt'):
        details(service, prompt="x", adapters=[{"id": "my-cat", "weight": 1}])
    with pytest.raises(AtelierError, match="embedding: write its word"):
        details(service, prompt="x <lora:my-cat:1>")


def test_ones_own_is_nobody_elses(service, engine, tmp_path):
    file = saved(vectors(engine.load()[0], seed=9), tmp_path / "upload")
    received = service.library.receive(file, "my-bird.safetensors", "A")
    told = received.public()
    assert told["fits"] and told["words"] == ["my-bird"] and "write its word into the prompt: my-bird" in told["reason"]

    async def story():
        mine, theirs = [await painted(service, session, prompt="a my-bird") for session in ("A", "B")]
        assert mine != theirs == await painted(service, "C", prompt="a my-bird")

    asyncio.run(story())
    assert details(service, "B", prompt="my-bird")["embeddings"] == []
    # Its own before everybody's.
    service.library.receive(saved(vectors(engine.load()[0], seed=8), tmp_path / "other"), "my-cat.safetensors", "A")
    ours, others = (details(service, s, prompt="my-cat")["embeddings"][0]["sha256"] for s in ("A", "B"))
    assert ours != others


def test_one_of_another_model_is_refused_in_words(service, tmp_path):
    file = saved({"emb_params": torch.zeros(2, 768)}, tmp_path / "upload")
    told = service.library.receive(file, "x.safetensors", "A").public()
    assert not told["fits"] and told["id"] is None
    assert "the vectors of its word 'x' are 768 numbers wide" in told["reason"]


def test_a_request_knows_the_words_of_all_its_variants(engine, service):
    def create(prompt, seed=1):
        values = {"prompt": prompt, "num_images": 2, "seed": seed}
        return GenerationRequest.create(values, engine.limits, service.library.find, None, service.library.embeddings())

    made = [create("{red|my-cat} apple", seed) for seed in range(0, 20, 2)]
    told = [bool(request.embeddings) for request in made]
    assert told == ["my-cat" in str(request.texts) for request in made] and len(set(told)) == 2
    assert create("tommy-cats").embeddings == ()


def test_a_picture_says_its_words_and_which_are_not_here(service):
    said = details(service, prompt="a my-cat, my-dog", adapters=[{"id": "ink", "weight": 0.5}])
    text = infotext.write(said)
    assert 'TI hashes: "my-dog: ' in text and ", my-cat: " in text
    values, notes = restore(text, service.facts.limits, service.library.all(), "custom")
    assert values["prompt"] == "a my-cat, my-dog" and notes == []
    *_, notes = restore(text, service.facts.limits, (), "custom")
    assert "The embedding 'my-cat' is missing here; its word is read as any other." in notes
    other = text.replace(service.library.find("my-cat").sha256[:12], "0" * 12)
    *_, notes = restore(other, service.facts.limits, service.library.all(), "custom")
    assert len(notes) == 1 and "another file here" in notes[0]
    theirs = 'cat\nSteps: 3, Sampler: Euler, Seed: 1, TI hashes: "easynegative: c74b4e810b03", Version: v1.6.0'
    *_, notes = restore(theirs, service.facts.limits, service.library.all(), "custom")
    assert "'easynegative' is missing" in " ".join(notes)
