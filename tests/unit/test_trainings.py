"""Trainings of visitors on a tiny model: slices between pictures, what is kept, what survives, what is refused."""

import asyncio
import io
import zipfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from lora.errors import AtelierError, Busy, InvalidRequest, UnknownTraining
from lora.library import Library
from pipeline.engine import Engine
from pipeline.profiles import load_profile
from serving.generation import GenerationService
from serving.queue import FairQueue, client_address
from serving.styles import StyleLimits, Styles
from serving.trainings import TrainingLimits, Trainings
from serving.workers.local import LocalWorker
from tests.hostile import bombs

COLOURS = ("red", "navy", "gold")
OPTIONS = {"steps": 6, "batch_size": 2, "learning_rate": 1e-2, "rank": 4, "warmup": 1, "sample_every": 2}
VALUES = {"name": "Mine", "trigger": "mine", "sample_prompt": "red apple", "options": OPTIONS}
ME, YOU = "a" * 64, "b" * 64
PICTURE = {"prompt": "red apple", "steps": 2, "seed": 3, "width": 64, "height": 64}


def png(colour="red", size=(80, 64)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


FILES = [(f"{colour}.png", png(colour)) for colour in COLOURS]


@pytest.fixture(scope="module")
def engine(tiny_sdxl):
    profile = load_profile(base_model=str(tiny_sdxl))
    # Samples are painted with the model's own number of steps.
    return Engine(replace(profile, limits=replace(profile.limits, steps=2)))


class House:
    """An engine, its queue, and a folder, as an app has them until it ends; what is in the folder outlasts it."""

    def __init__(self, engine, folder: Path, styles: StyleLimits | None = None, **limits):
        facts = engine.facts
        self.styles = Styles(folder, styles)
        library = Library([], facts.shapes, facts.profile.family.name)
        self.service = GenerationService(LocalWorker(engine), library, FairQueue(16, 8), styles=self.styles)
        self.folder = folder / "trainings"
        self.trainings = Trainings(self.service, self.styles, folder, TrainingLimits(**{"slice_seconds": 0.0} | limits))

    @asynccontextmanager
    async def open(self):
        async with self.service.decoder.ready(), self.trainings.running():
            yield self
        self.trainings.close()
        self.styles.close()

    async def end(self, owner=ME) -> list[dict]:
        """All that its owner sees until the training rests."""
        return [view async for view in self.trainings.watch(owner)]

    async def begun(self, owner=ME, files=FILES, **values):
        return await self.trainings.begin(owner, VALUES | values, files)

    def learnt(self, owner=ME, step=6) -> bytes:
        return self.trainings.file(self.trainings.find(owner), step).read_bytes()


def living(work, *arguments, **limits):
    """What `work` comes to in a house of its own."""

    async def live():
        async with House(*arguments, **limits).open() as house:
            return await work(house)

    return asyncio.run(live())


@pytest.fixture(scope="module")
def undisturbed(engine, tmp_path_factory):
    """The file of a training that nothing got in the way of."""

    async def whole(house):
        await house.begun()
        await house.end()
        return house.learnt()

    return living(whole, engine, tmp_path_factory.mktemp("whole"), slice_seconds=60.0)


def test_the_whole_way(engine, tmp_path, undisturbed):
    async def whole(house):
        await house.begun()
        views = await house.end()
        return views, house.learnt(), house.styles.all(ME), house.trainings.find(ME)

    views, file, kept, training = living(whole, engine, tmp_path)
    assert views[-1]["status"] == "done" and views[-1]["step"] == 6 and file == undisturbed
    assert {"training", "sampling"} <= {view["status"] for view in views}
    assert [view["step"] for view in views] == sorted(view["step"] for view in views)
    # The base's picture, and then the style's at two strengths.
    samples = views[-1]["samples"]
    assert [sample["step"] for sample in samples] == [0, 2, 4, 6]
    assert [sorted(sample["pictures"]) for sample in samples] == [["100"], *[["100", "50"]] * 3]
    assert [bool(sample["file"]) for sample in samples] == [False, True, True, True]
    pictures = {(tmp_path / "trainings" / name).read_bytes() for name in training.files if name.endswith(".png")}
    assert len(pictures) == 7
    assert [step for step, _ in views[-1]["losses"]] == [1, 2, 3, 4, 5, 6]
    # It is among the styles of its owner, and says how it was trained.
    assert [(style.adapter.name, style.adapter.triggers) for style in kept] == [("Mine", ("mine",))]
    assert kept[0].adapter.id == samples[-1]["kept"] and kept[0].training["ss_steps"] == "6"
    assert kept[0].file(".webp") and kept[0].adapter.path.read_bytes() == file


def test_others_paint_in_between_and_what_they_paint_is_the_same(engine, tmp_path, undisturbed):
    async def painted(house):
        *_, last = [update async for update in house.service.generate(PICTURE, "other")]
        return last.images

    async def both(house):
        before = await painted(house)
        training = await house.begun()
        pictures = []
        while training.running:
            pictures.append(await painted(house))
        return before, pictures, house.learnt()

    before, pictures, file = living(both, engine, tmp_path)
    assert len(pictures) > 6 and {*pictures} == {before}
    assert file == undisturbed


def test_a_slice_ends_where_somebody_waits_and_not_before(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.trainings.run.SHARED_SECONDS", 0.0)
    slices = []

    async def crowded(house):
        real = house.service.worker.train

        async def train(work, enough):
            async for item in real(work, enough):
                yield item
            slices.append((work.until, item.step))

        house.service.worker.train = train
        await house.begun(options=OPTIONS | {"sample_every": 6})
        while house.service.queue.status()["running"] == 0 or not slices:
            async for _ in house.service.generate(PICTURE, "other"):
                pass
        await house.end()

    living(crowded, engine, tmp_path, slice_seconds=60.0)
    assert len(slices) > 1 and slices[0][1] < 6 and slices[-1][1] == 6


@pytest.mark.parametrize("step", [0, 3])
def test_it_goes_on_after_a_restart_and_comes_to_the_same(engine, tmp_path, undisturbed, step):
    async def until(house):
        training = await house.begun()
        async for view in house.trainings.watch(ME):
            if view["step"] >= step and (step or view["samples"]):
                break
        return training.id

    async def rest(house):
        views = await house.end()
        return house.trainings.find(ME).id, views, house.learnt(), len(house.styles.all(ME))

    begun = living(until, engine, tmp_path)
    identity, views, file, kept = living(rest, engine, tmp_path)
    assert identity == begun and views[-1]["status"] == "done" and kept == 1
    assert file == undisturbed and [s["step"] for s in views[-1]["samples"]] == [0, 2, 4, 6]


def test_on_a_lent_gpu_it_waits_after_a_restart_for_its_owner(engine, tmp_path, undisturbed):
    async def until(house):
        await house.begun()
        async for view in house.trainings.watch(ME):
            if view["step"] >= 2:
                return

    async def rest(house):
        (before,) = await house.end()
        await house.trainings.go_on(ME)
        await house.end()
        return before, house.learnt()

    living(until, engine, tmp_path)
    before, file = living(rest, engine, tmp_path, resumes=False)
    assert before["status"] == "stopped" and "restarted" in before["message"] and file == undisturbed


def test_stopped_it_is_kept_and_goes_on_where_it_was(engine, tmp_path, undisturbed):
    async def stopped(house):
        await house.begun()
        async for view in house.trainings.watch(ME):
            if view["step"] >= 3 and not view["stopping"]:
                house.trainings.stop(ME)
        half, kept = view, house.styles.all(ME)[0].adapter
        await house.trainings.go_on(ME)
        await house.end()
        return half, kept, house.learnt(), [style.adapter.name for style in house.styles.all(ME)]

    half, kept, file, names = living(stopped, engine, tmp_path)
    assert half["status"] == "stopped" and 3 <= half["step"] < 6 and half["samples"][-1]["step"] == half["step"]
    assert kept.name == f"Mine, {half['step']} steps" and half["samples"][-1]["kept"] == kept.id
    assert file == undisturbed and names[0] == "Mine"


def test_done_it_goes_on_for_more_steps_in_any_number_of_slices(engine, tmp_path):
    async def longer(house):
        await house.begun()
        await house.end()
        with pytest.raises(InvalidRequest, match=r"^steps is 0, but must be a whole number from 1 to 4994\.$"):
            await house.trainings.go_on(ME, 0)
        await house.trainings.go_on(ME, 4)
        views = await house.end()
        return views[-1], house.learnt(step=10)

    view, file = living(longer, engine, tmp_path / "a", slice_seconds=60.0)
    assert view["step"] == view["steps"] == 10 and [s["step"] for s in view["samples"]] == [0, 2, 4, 6, 8, 10]
    assert living(longer, engine, tmp_path / "b")[1] == file


def test_what_it_had_learnt_earlier_can_be_kept(engine, tmp_path):
    async def earlier(house):
        await house.begun()
        await house.end()
        first = await house.trainings.keep(ME, 2)
        assert await house.trainings.keep(ME, 2) == first
        with pytest.raises(InvalidRequest, match=r"^step is 3, but must be one of which there is .*: 2, 4, 6\.$"):
            await house.trainings.keep(ME, 3)
        return [style.training["ss_steps"] for style in house.styles.all(ME)], await house.end()

    steps, views = living(earlier, engine, tmp_path)
    assert steps == ["2", "6"] and views[-1]["samples"][1]["kept"]


def test_what_is_kept_meanwhile_takes_nothing_from_it(engine, tmp_path, undisturbed):
    async def kept(house):
        training = await house.begun()

        async def keep():
            while training.running:
                if training.checkpoints:
                    await house.trainings.keep(ME)
                await asyncio.sleep(0)

        await asyncio.gather(keep(), keep(), house.end())
        return house.learnt(), {path.name for path in house.folder.iterdir()} == training.files

    assert living(kept, engine, tmp_path) == (undisturbed, True)


def test_to_go_on_twice_at_once_is_to_go_on_once(engine, tmp_path):
    async def twice(house):
        training = await house.begun()
        await house.end()
        both = [house.trainings.go_on(ME, 2), house.trainings.go_on(ME, 2)]
        refused = [each for each in await asyncio.gather(*both, return_exceptions=True) if each]
        await house.end()
        return [type(each) for each in refused], training.progress.step

    assert living(twice, engine, tmp_path) == ([Busy], 8)


def test_cancelled_nothing_is_left_of_it(engine, tmp_path):
    async def cancelled(house):
        await house.begun()
        async for view in house.trainings.watch(ME):
            if view["step"] >= 1:
                await house.trainings.cancel(ME)
                break
        await asyncio.sleep(0.5)
        assert await house.end() == [{"status": "empty"}] and house.service.queue.status()["running"] == 0
        with pytest.raises(UnknownTraining):
            house.trainings.find(ME)
        return [*house.folder.iterdir()], house.styles.all(ME)

    assert living(cancelled, engine, tmp_path) == ([], [])


def test_files_have_addresses_for_their_owner_only(engine, tmp_path):
    async def addresses(house):
        await house.begun()
        sample = (await house.end())[-1]["samples"][-1]
        name, key = sample["file"].removeprefix("/training/").split("?key=")
        assert house.trainings.path(name, key)[0].read_bytes() == house.learnt()
        state = house.trainings.find(ME).saved(6)
        for wrong in ((name, "0" * 40), (state, house.trainings._store.signature(ME, state)), ("x", key), ("", "")):
            with pytest.raises(UnknownTraining):
                house.trainings.path(*wrong)

    living(addresses, engine, tmp_path)


def test_one_of_each_visitor_some_of_an_address_and_so_many_in_all(engine, tmp_path):
    async def many(house):
        client_address.set("1.2.3.4")
        await house.begun(ME)
        with pytest.raises(Busy, match=r"^You have a training that runs, and one is taken at a time; .*\.$"):
            await house.begun(ME)
        with pytest.raises(Busy, match=r"^1 trainings are running from your address"):
            await house.begun(YOU)
        for number in range(3):
            client_address.set(f"1.2.3.{number + 5}")
            await house.begun(str(number) * 64)
        client_address.set("1.2.3.99")
        with pytest.raises(Busy, match=r"^All 4 places for trainings are taken"):
            await house.begun("c" * 64)
        for owner in (ME, "0" * 64, "1" * 64, "2" * 64):
            await house.end(owner)
        # Of those that rest the oldest gives way.
        await house.begun("c" * 64)
        with pytest.raises(UnknownTraining):
            house.trainings.find(ME)
        assert house.trainings.find("2" * 64)
        await house.trainings.cancel("c" * 64)

    living(many, engine, tmp_path, total=4)


def test_a_training_for_a_call_without_an_owner_does_not_outlive_the_app(engine, tmp_path):
    async def begun(house):
        await house.trainings.begin(YOU, VALUES, FILES, keep=False)
        await house.end(YOU)
        return len(house.styles.all(YOU))

    async def there(house):
        return await house.end(YOU), [*house.folder.iterdir()]

    assert living(begun, engine, tmp_path) == 0
    assert living(there, engine, tmp_path) == ([{"status": "empty"}], [])


def test_where_it_cannot_be_kept_it_says_so_and_is_there(engine, tmp_path):
    async def full(house):
        await house.begun()
        return (await house.end())[-1]

    view = living(full, engine, tmp_path, StyleLimits(total_bytes=1000))
    assert view["status"] == "done" and view["message"].startswith("The style was not kept: it has ")
    assert view["samples"][-1]["file"] and not view["samples"][-1]["kept"]


def test_one_that_diverges_ends_with_what_to_change_and_the_base_is_as_before(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("training.loop.MAX_LOSS", 1e-3)

    async def diverged(house):
        before = [u async for u in house.service.generate(PICTURE, "me")][-1].images
        await house.begun()
        view = (await house.end())[-1]
        return view, before, [u async for u in house.service.generate(PICTURE, "me")][-1].images

    view, before, after = living(diverged, engine, tmp_path, slice_seconds=60.0)
    assert view["status"] == "failed" and before == after
    assert "lower the learning rate" in view["message"] and "\n" not in view["message"]


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return file.getvalue()


HOSTILE = {
    "too many": ([(f"{i}.png", png()) for i in range(51)], {}),
    "too few": (FILES[:2], {}),
    "a bomb": ([*FILES, ("bomb.png", bombs.huge())], {}),
    "no picture": ([*FILES, ("no.png", b"not a picture")], {}),
    "another kind": ([*FILES, ("run.py", b"print()")], {}),
    "broken": ([*FILES, ("half.png", png()[:60])], {}),
    "equal names": ([*FILES, ("RED.jpg", png())], {}),
    "long captions": (FILES, {"captions": {"red.png": "x" * 10**6}}),
    "captions of none": (FILES, {"captions": {"blue.png": "x"}}),
    "captions of another kind": (FILES, {"captions": [1]}),
    "left out of another kind": (FILES, {"left_out": 3}),
    "too few are left": (FILES, {"left_out": ["red.png"]}),
    "no name": (FILES, {"name": " "}),
    "a name of another kind": (FILES, {"name": 3}),
    "no trigger and no captions": (FILES, {"trigger": ""}),
    "no preset": (FILES, {"preset": "endless"}),
    "no option": (FILES, {"options": {"steps": 6, "speed": 9}}),
    "an option of another kind": (FILES, {"options": {"steps": "many"}}),
    "options of another kind": (FILES, {"options": "steps"}),
    "too many steps": (FILES, {"options": {"steps": 10**6}}),
    "too large": (FILES, {"options": {"resolution": 128}}),
    "another style in the sample": (FILES, {"sample_prompt": "<lora:ink:1> apple"}),
    "no text in the sample": (FILES, {"sample_prompt": 3}),
    "a zip of nothing": ([("all.zip", zipped())], {}),
    "a broken zip": ([("all.zip", zipped(a_png=png())[:40])], {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def refusing(engine, tmp_path_factory):
    return engine, tmp_path_factory.mktemp("hostile")


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_used_is_refused_in_sentences_and_nothing_is_kept(refusing, case):
    files, values = HOSTILE[case]

    async def refused(house):
        with pytest.raises(AtelierError) as caught:
            await house.begun(files=files, **values)
        return str(caught.value), [*house.folder.iterdir()], await house.end()

    words, there, views = living(refused, *refusing)
    assert words.endswith(".") and "\n" not in words and "/" not in words and len(words) < 500
    assert there == [] and views == [{"status": "empty"}]


def test_all_that_is_wrong_is_said_at_once(engine, tmp_path):
    async def refused(house):
        with pytest.raises(InvalidRequest) as caught:
            await house.begun(name="", options={"steps": 0, "rank": 0, "speed": 1}, files=FILES[:1], preset="no")
        return caught.value

    error = living(refused, engine, tmp_path)
    assert {each.field for each in error.problems} >= {"name", "steps", "options", "pictures"}


def test_a_plan_says_what_it_takes_and_whether_that_was_measured(engine, tmp_path):
    async def planned(house):
        guess = await house.trainings.plan(VALUES, FILES)
        await house.begun()
        await house.end()
        return (
            guess,
            await house.trainings.plan(VALUES, FILES),
            house.trainings.forecast("quick", {}),
        )

    guess, known, quick = living(planned, engine, tmp_path)
    assert guess["pictures"] == 3 and guess["steps"] == 6 and not guess["measured"]
    assert known["measured"] and known["expected_seconds"] < 60 and quick["steps"] > 100


def test_captions_and_what_is_left_out(engine, tmp_path):
    files = [*FILES, ("odd.png", png("green")), ("red.txt", b"as its file says"), ("odd.txt", b"odd")]

    async def begun(house):
        training = await house.begun(files=files, left_out=["odd.png"], captions={"navy.png": "a  cat", "gold.png": ""})
        captions = [example.captions for example in training.order.examples]
        await house.trainings.cancel(ME)
        return captions

    said = ("as its file says", "mine, as its file says")
    assert living(begun, engine, tmp_path) == [("mine",), ("a cat", "mine, a cat"), said]


def test_a_killed_one_loses_at_most_its_slice(engine, tmp_path, undisturbed):
    """As after kill -9: nothing of the process is let end, and its files are what they were at that moment."""

    async def until(house):
        await house.begun()
        async for view in house.trainings.watch(ME):
            # Before the sample that is due is there.
            if view["step"] >= 4 and view["status"] == "sampling":
                break
        for name in ("trainings.sqlite3", "trainings.sqlite3-wal"):
            (kept / name).write_bytes((tmp_path / "a" / name).read_bytes())
        (kept / "trainings").mkdir()
        for file in house.folder.iterdir():
            (kept / "trainings" / file.name).write_bytes(file.read_bytes())
        # What is in the middle of being written.
        (kept / "trainings" / f"{'x' * 22}-8.state.part").write_bytes(b"half")

    async def rest(house):
        views = await house.end()
        samples = [sample["step"] for sample in views[-1]["samples"]]
        return samples, views[0]["step"], house.learnt(), sorted(path.suffix for path in house.folder.iterdir())

    kept = tmp_path / "b"
    kept.mkdir()
    living(until, engine, tmp_path / "a")
    samples, step, file, suffixes = living(rest, engine, kept)
    assert samples == [0, 2, 4, 6] and step >= 3 and file == undisturbed
    assert ".part" not in suffixes and suffixes.count(".state") == 1


def test_what_another_version_has_left_does_not_keep_the_app_from_starting(engine, tmp_path):
    async def begun(house):
        training = await house.begun()
        await house.end()
        with house.trainings._store.rows(write=True) as db:
            db.execute("UPDATE trainings SET details = ?", ['{"config": {"unheard": 1}}'])
        return training

    async def there(house):
        return await house.end(), [*house.folder.iterdir()]

    living(begun, engine, tmp_path)
    assert living(there, engine, tmp_path) == ([{"status": "empty"}], [])


def test_the_file_is_one_that_others_read(engine, tmp_path, undisturbed):
    (tmp_path / "x.safetensors").write_bytes(undisturbed)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        said = file.metadata()
    assert said["modelspec.title"] == "Mine" and said["ss_steps"] == "6" and said["ss_num_train_images"] == "3"
