"""Adapters of the Hub against a Hub of our own (matrix A11, A12): pinned, bounded, without a token, in words."""

import time

import pytest
from huggingface_hub import constants
from safetensors.torch import save

from lora.composition import Composer
from lora.errors import (
    AdapterError,
    AtelierError,
    HubError,
    InvalidRequest,
    OutOfSpace,
    UnfitAdapter,
    UnreadableAdapter,
)
from lora.hub import Hub, Reference, parse
from lora.library import Library
from lora.private import Bounds, PrivateAdapters
from pipeline.families import known_marks
from pipeline.profiles import load, load_profile
from tests.adapters import random_lora, save_adapter
from tests.fake_hub import COMMIT, LATER, FakeHub, Repo

USUAL = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def weights(tiny_sdxl, tmp_path_factory):
    """(components, bytes of an adapter, bytes of another one)."""
    components, folder = load(load_profile(base_model=str(tiny_sdxl))), tmp_path_factory.mktemp("weights")
    files = (save_adapter(components, folder / f"{i}.safetensors", i, text=False).read_bytes() for i in (1, 2))
    return components, *files


@pytest.fixture
def hub(weights, monkeypatch):
    """A Hub with one repository, someone/ink, of one file."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # An operator's token, which no visitor's request may carry.
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fake = FakeHub({"someone/ink": Repo({COMMIT: {USUAL: weights[1], "README.md": b"#"}})})
    yield fake
    assert not any(token for _, _, token in fake.requests), "the operator's token was sent"
    fake.close()


@pytest.fixture
def library(hub, weights, tmp_path):
    return library_of(hub, weights, tmp_path)


def library_of(hub, weights, folder, bounds=None, **limits) -> Library:
    shapes = Composer(weights[0].adaptable()).shapes
    client = Hub(endpoint=hub.url, **{"timeout": 2.0, "seconds": 10.0} | limits)
    return Library([], shapes, "sdxl", PrivateAdapters(bounds or Bounds(), folder), client, known_marks())


def refusal(library, reference, kind=HubError) -> str:
    """The sentence; nothing was kept, neither file nor entry."""
    with pytest.raises(kind) as caught:
        library.add_from_hub_reference(reference, "me")
    words = str(caught.value)
    assert words.endswith(".") and "\n" not in words and len(words) < 600
    assert "secret" not in words and "127.0.0.1" not in words and "Error" not in words
    assert library.all("me") == () and not list(library._private._root.iterdir())
    return words


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "a/b": Reference("a/b"),
        " a/b ": Reference("a/b"),
        "a/b@v1.0": Reference("a/b", "v1.0"),
        "a/b@refs/pr/3": Reference("a/b", "refs/pr/3"),
        "a/b/c d/x.safetensors": Reference("a/b", None, "c d/x.safetensors"),
        "a/b@main/x.safetensors": Reference("a/b", "main", "x.safetensors"),
        "https://huggingface.co/a/b": Reference("a/b"),
        "huggingface.co/a/b/": Reference("a/b"),
        "https://hf.co/a/b/tree/main": Reference("a/b", "main"),
        "https://huggingface.co/a/b/blob/main/x%20y.safetensors": Reference("a/b", "main", "x y.safetensors"),
        "https://huggingface.co/a/b/resolve/refs%2Fpr%2F3/x.safetensors?download=true": Reference(
            "a/b", "refs/pr/3", "x.safetensors"
        ),
    }.items(),
)
def test_a11_references_as_people_write_them(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        None, 3, "", "a", "a/", "/b", "a/b@", "../b", "a/..", "a/b@../c", "a/b/../x.safetensors", "a/b//x.safetensors",
        "a/b/./x.safetensors", "a/b/x\\y.safetensors", "a/b\0", "a/b\n", "a b/c", "é/b", "http://127.0.0.1/a/b",
        "https://evil.example/a/b", "https://huggingface.co@evil.example/a/b", "file:///etc/passwd", "a/b" * 999,
        "https://huggingface.co/a/b/blob/main/%2e%2e/x.safetensors",
    ],
)  # fmt: skip
def test_a11_other_references_are_refused(text):
    with pytest.raises(InvalidRequest, match="owner/repo"):
        parse(text)


def test_a9_files_of_other_kinds_are_refused_before_the_hub_is_asked(hub, library):
    for file in ("x.bin", "x.pt", "x.safetensors.zip", "x.SAFETENSORS"):
        assert "other formats can run code" in refusal(library, f"someone/ink/{file}", UnreadableAdapter)
    assert not hub.requests


def test_a11_an_adapter_is_downloaded_by_its_commit_and_shows_it(hub, library, weights):
    hub.repos["someone/ink"].commits[LATER] = {USUAL: weights[2]}
    adapter = library.add_from_hub_reference("someone/ink", "me")
    assert adapter.source == f"someone/ink@{COMMIT[:12]}" and adapter.licence == "cc0-1.0"
    assert adapter.path.read_bytes() == weights[1] and adapter.name == "ink" and adapter.id.startswith("ink-")
    assert library.find(adapter.id, "me") == adapter
    assert [path for _, path, _ in hub.requests if "/resolve/" in path] == [f"/someone/ink/resolve/{COMMIT}/{USUAL}"]
    # Asked for again, it is the same adapter.
    assert library.add_from_hub_reference("someone/ink", "me").id == adapter.id
    # The branch moves: what was fetched stays what it was, and the next to ask gets the new commit.
    hub.repos["someone/ink"].branches["main"] = LATER
    moved = library.add_from_hub_reference("someone/ink", "other")
    assert moved.source == f"someone/ink@{LATER[:12]}" and moved.sha256 != adapter.sha256
    assert library.add_from_hub_reference(f"someone/ink@{COMMIT}", "other").sha256 == adapter.sha256


def test_a11_a_branch_that_moves_between_question_and_download(hub, library, weights, monkeypatch):
    """What is judged is the commit that was shown, even if the name means another by now."""
    real = library._hub.download

    def moving(found, target):
        hub.repos["someone/ink"].commits[LATER] = {USUAL: weights[2]}
        hub.repos["someone/ink"].branches["main"] = LATER
        return real(found, target)

    monkeypatch.setattr(library._hub, "download", moving)
    assert library.add_from_hub_reference("someone/ink", "me").path.read_bytes() == weights[1]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("someone/nothing", "There is no public model someone/nothing"),
        ("someone/ink@nothing", "no such revision"),
        ("someone/ink/other.safetensors", "has no 'other.safetensors'; choose one"),
        ("someone/gated", "is gated"),
        ("someone/empty", "has no .safetensors file"),
        ("someone/many", "has several files; choose one as \"someone/many/FILE\" of 'a.safetensors', 'b.safetensors'"),
    ],
)
def test_a11_what_is_not_there_is_said(hub, library, weights, reference, words):
    hub.repos |= {
        "someone/gated": Repo({COMMIT: {USUAL: weights[1]}}, gated="auto"),
        "someone/empty": Repo({COMMIT: {"x.bin": b""}}),
        "someone/many": Repo({COMMIT: {"a.safetensors": b"", "b.safetensors": b""}}),
    }
    assert words in refusal(library, reference)
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path]


def test_a11_a_repository_that_is_gated_after_all(hub, library):
    hub.faults, hub.only = [403], "/resolve/"
    assert "gated or private" in refusal(library, "someone/ink")


def test_a8_an_adapter_of_another_model_is_not_kept(hub, library, weights):
    foreign = {f"unet.nowhere.{k}": v for k, v in random_lora(weights[0].denoiser, ["to_q"], 1).items()}
    hub.repos["someone/foreign"] = Repo({COMMIT: {USUAL: save(foreign)}})
    assert "was made for another model" in refusal(library, "someone/foreign", UnfitAdapter)
    received = library.fetch("someone/foreign", "me").public()
    assert received["fits"] is False and received["id"] is None and received["source"].startswith("someone/foreign@")
    assert library.all("me") == ()


def test_a12_a_hub_that_hangs_is_given_up(hub, weights, tmp_path):
    library = library_of(hub, weights, tmp_path, timeout=0.3)
    hub.faults = ["hang"] * 9
    before = time.monotonic()
    assert "did not answer within 0.3 s" in refusal(library, "someone/ink")
    assert time.monotonic() - before < 5
    hub.faults, hub.only = ["hang"] * 9, "/resolve/"
    assert "did not answer" in refusal(library, "someone/ink")


def test_a12_a_file_that_drips_is_given_up(hub, weights, tmp_path):
    library = library_of(hub, weights, tmp_path, seconds=0.5)
    hub.faults, hub.only = ["drip"], "/resolve/"
    before = time.monotonic()
    assert "did not come within 0.5 s" in refusal(library, "someone/ink")
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        (429, "/api/"),
        (503, "/api/"),
        (429, "/resolve/"),
        (500, "/resolve/"),
        ("cut", "/resolve/"),
        ("shorter", "/resolve/"),
    ],
)
def test_a12_a_fault_that_passes_is_waited_for_and_one_that_stays_is_told(hub, library, fault, where):
    hub.faults, hub.only = [fault] * 9, where
    words = refusal(library, "someone/ink")
    tries = [path for _, path, _ in hub.requests if where in path]
    assert len(tries) == 3
    said = {429: "no more requests", "cut": "broke off", "shorter": "broke off"}
    assert said.get(fault, f"error {fault}") in words
    hub.faults = [fault]
    assert library.add_from_hub_reference("someone/ink", "me").path.stat().st_size > 1000


def test_a12_a_rate_limit_of_an_hour_is_not_waited_for(hub, library):
    hub.faults, hub.retry_after = [429] * 9, "3600"
    before = time.monotonic()
    assert "a few minutes" in refusal(library, "someone/ink")
    assert time.monotonic() - before < 2 and len(hub.requests) == 1


@pytest.mark.parametrize(("fault", "words"), [("longer", "larger than the Hub announced"), ("other", "is not what")])
def test_a12_a_file_that_is_not_the_announced_one_is_not_taken(hub, library, fault, words):
    hub.faults, hub.only = [fault], "/resolve/"
    assert words in refusal(library, "someone/ink")


def test_a_file_too_large_is_not_downloaded(hub, weights, tmp_path):
    library = library_of(hub, weights, tmp_path, Bounds(file_bytes=1000))
    assert "up to 1.0 KB are taken" in refusal(library, "someone/ink", OutOfSpace)
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path]


def test_without_a_network_it_says_so(hub, library, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "cannot be reached from here" in refusal(library, "someone/ink")
    with pytest.raises(HubError, match="cannot be reached"):
        library.search("ink", "sdxl")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    library._hub.endpoint = "http://127.0.0.1:9"
    assert "cannot be reached from here" in refusal(library, "someone/ink")


def test_raw_peft_brings_its_config(hub, library, weights):
    """lora_alpha stands in adapter_config.json only: twice the rank is twice the change."""
    raw = {f"base_model.model.{k}": v for k, v in random_lora(weights[0].denoiser, ["to_q"], 1).items()}
    config = b'{"lora_alpha": 8, "r": 4, "target_modules": "(x+)+!"}'
    files = {"adapter_model.safetensors": save(raw), "adapter_config.json": config}
    hub.repos["someone/raw"] = Repo({COMMIT: files})
    verdict = library.fetch("someone/raw", "me").public()
    assert verdict["fits"] and verdict["groups"]["unet"]["alpha"] == [8, 8] and verdict["name"] == "raw"
    # The same weights at another alpha are another adapter, to the engine as well, which knows it by its hash.
    hub.repos["someone/raw"].commits[COMMIT]["adapter_config.json"] = b'{"lora_alpha": 2, "r": 4}'
    other = library.fetch("someone/raw", "me").public()
    assert other["groups"]["unet"]["alpha"] == [2, 2] and other["sha256"] != verdict["sha256"]
    assert other["id"] != verdict["id"]


def test_search_asks_for_adapters_of_the_base(hub, library):
    hub.repos["someone/ink"].tags += ["base_model:adapter:stabilityai/stable-diffusion-xl-base-1.0"]
    hub.repos["someone/ink-15"] = Repo({}, tags=["lora", "base_model:adapter:sd-legacy/stable-diffusion-v1-5"])
    (found,) = library.search("ink", "sdxl")
    assert found == {
        "id": "someone/ink", "downloads": 7, "likes": 3, "licence": "cc0-1.0", "url": f"{hub.url}/someone/ink",
        "base": "stabilityai/stable-diffusion-xl-base-1.0",
    }  # fmt: skip
    assert len(library.search("ink", "unknown")) == 2 and len(library.search("ink", "unknown", limit=1)) == 1
    hub.faults = [503] * 9
    with pytest.raises(HubError, match="error 503"):
        library.search("ink", "sdxl")


def test_a12_a_page_of_something_in_between_is_no_answer(hub, library):
    hub.faults = ["page"] * 2
    assert "could not be read" in refusal(library, "someone/ink")
    with pytest.raises(HubError, match="could not be read"):
        library.search("ink", "sdxl")


@pytest.mark.parametrize("reference", ["someone/ink", "someone/ink@nothing", "someone/nothing"])
def test_every_refusal_is_one_of_ours(hub, library, reference):
    for fault in ("hang", 400, 404, 418, 451):
        hub.faults = [fault]
        library._hub.timeout = 0.2
        try:
            library.add_from_hub_reference(reference, "me")
        except AtelierError as error:
            assert isinstance(error, AdapterError)


@pytest.mark.parametrize("text", ["[", "//[a/b", "https://[huggingface.co/a/b", "http://]/", "https://hf.co:9999/x"])
def test_what_is_no_address_is_refused_in_words(text):
    with pytest.raises(InvalidRequest, match=r"repo_id is .*, but must be of the form"):
        parse(text)
