"""Strangers' pictures are opened in processes of their own, bounded in memory and time, and replaced when they end."""

import asyncio
import gc
import io
import signal
import subprocess
import sys
import time

import psutil
import pytest
from PIL import Image, PngImagePlugin

from lora.errors import Busy, InvalidRequest
from pipeline import decoder as child
from pipeline.request.picture import UNREAD, Picture
from serving import picture_decoder as decoding
from serving.picture_decoder import ROOT, PictureDecoder
from tests.hostile.bombs import file
from tests.unit.test_generation import GOOD, run, sentence, service, unreachable


@pytest.fixture
def decoder():
    made = PictureDecoder()
    yield made
    for process, *_ in made._idle:
        process.kill()
        process.wait()


def told(text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text)
    return file(Image.new("RGB", (8, 8)), pnginfo=info)


def test_it_opens_pictures_as_picture_read_does(decoder):
    image = file(Image.radial_gradient("L").resize((96, 32)), "JPEG")

    async def both():
        return await decoder.picture(image, 64, 48), await decoder.metadata(told("ein Café, 猫"))

    assert asyncio.run(both()) == (Picture.read(image, 64, 48), "ein Café, 猫")
    assert len(decoder._idle) == 1


def test_a_mask_is_opened_there_too(decoder):
    image = file(Image.radial_gradient("L").resize((96, 32)))
    grey = asyncio.run(decoder.picture(image, 64, 48, "mask", "L"))
    assert grey == Picture.read(image, 64, 48, "mask", "L") and len(grey.pixels) == 64 * 48
    with pytest.raises(InvalidRequest, match="mask is b'GIF89a', but must be") as caught:
        asyncio.run(decoder.picture(b"GIF89a", 8, 8, "mask", "L"))
    assert caught.value.field == "mask"


def test_what_is_refused_there_is_refused_here_in_its_words(decoder):
    for data in (b"GIF89a", told("x")[:50]):
        with pytest.raises(InvalidRequest) as here:
            Picture.read(data, 8, 8)
        with pytest.raises(InvalidRequest) as there:
            asyncio.run(decoder.picture(data, 8, 8))
        assert (str(there.value), there.value.field) == (str(here.value), "image")
    with pytest.raises(InvalidRequest, match="file is a picture that does not say how it was made"):
        asyncio.run(decoder.metadata(file(Image.new("RGB", (8, 8)))))


def slow_child(monkeypatch, code: str) -> None:
    """From now on the processes run that before a picture is opened."""
    start = f"from pipeline import decoder; from pipeline.request.picture import Picture\n{code}\ndecoder.main()"
    popen = subprocess.Popen
    monkeypatch.setattr(decoding.subprocess, "Popen", lambda args, **how: popen([sys.executable, "-c", start], **how))


def test_one_that_takes_too_long_is_ended_and_the_next_one_opens(decoder, monkeypatch):
    with monkeypatch.context() as patch:
        slow_child(patch, "decoder.MAX_SECONDS = 1\nPicture.read = lambda *_, **__: [0 for _ in iter(int, 1)]")
        begun = time.monotonic()
        with pytest.raises(InvalidRequest, match="image is a picture that takes too long to decode, but must be one"):
            asyncio.run(decoder.picture(told("x"), 8, 8))
        assert 1 <= time.monotonic() - begun < 10 and decoder._idle == []
    assert asyncio.run(decoder.picture(told("x"), 8, 8)).width == 8


def test_one_that_takes_too_much_memory_is_refused(decoder, monkeypatch):
    with monkeypatch.context() as patch:
        slow_child(patch, "Picture.read = lambda *_, **__: bytearray(2**30)")
        with pytest.raises(InvalidRequest, match="image is a picture that takes too much memory to decode"):
            asyncio.run(decoder.picture(told("x"), 8, 8))


def test_one_that_ends_is_replaced(decoder, monkeypatch):
    with monkeypatch.context() as patch:
        slow_child(patch, "import os\nPicture.read = lambda *_, **__: os._exit(3)")
        with pytest.raises(InvalidRequest, match="image is a picture that cannot be decoded"):
            asyncio.run(decoder.picture(told("x"), 8, 8))
    for _ in range(2):
        assert asyncio.run(decoder.metadata(told("x"))) == "x"
        ((process, *_),) = decoder._idle
        process.kill()
        process.wait()


def test_one_that_ends_before_it_has_read_leaves_nothing_behind(decoder, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        slow_child(patch, "import sys; sys.exit()")
        for _ in range(3):
            with pytest.raises(InvalidRequest, match="image is a picture that cannot be decoded"):
                asyncio.run(decoder.picture(bytes(5 * 2**20), 8, 8))
    gc.collect()
    assert "ignored" not in capsys.readouterr().err and decoder._idle == []


def test_there_are_two_and_a_bounded_line(decoder):
    data = told("x")

    async def crowd():
        return await asyncio.gather(*(decoder.metadata(data) for _ in range(40)), return_exceptions=True)

    answers = asyncio.run(crowd())
    assert answers.count("x") == decoding.AT_ONCE + decoding.WAITING
    assert all(isinstance(answer, Busy) for answer in answers if answer != "x")
    assert len(decoder._idle) <= decoding.AT_ONCE


def test_a_caller_who_leaves_disturbs_nobody(decoder):
    async def left():
        call = asyncio.ensure_future(decoder.picture(told("one"), 8, 8))
        await asyncio.sleep(0.01)
        call.cancel()
        return [await decoder.metadata(told(text)) for text in "abc"]

    assert asyncio.run(left()) == ["a", "b", "c"]


def test_a_process_ends_with_the_app_that_is_killed():
    code = (
        "import asyncio, io, os, signal; from PIL import Image; from serving.picture_decoder import PictureDecoder\n"
        "b = io.BytesIO(); Image.new('RGB', (8, 8)).save(b, 'PNG'); d = PictureDecoder()\n"
        "asyncio.run(d.picture(b.getvalue(), 8, 8)); print(d._idle[0].process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert out.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid := int(out.stdout)) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_process_is_light():
    code = "import sys, pipeline.decoder; print([m for m in ('torch', 'numpy', 'gradio') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert out.stdout == "[]\n", out.stderr


def test_messages_come_as_they_were_sent():
    pipe = io.BytesIO()
    child.send(pipe, ["done", "猫\ud800"], b"\0" * 9)
    pipe.seek(0)
    assert child.receive(pipe) == (["done", "猫\ud800"], b"\0" * 9)
    with pytest.raises(EOFError):
        child.receive(pipe)


def test_nothing_is_opened_in_the_app_itself(monkeypatch):
    def read(data, *_, **__):
        assert not isinstance(data, bytes), "a picture was opened in the app"
        return data

    monkeypatch.setattr(Picture, "read", read)
    image = file(Image.new("RGB", (8, 8)), "WEBP")

    def paint(request):
        assert (request.image.width, request.image.height) == (144, 128)
        raise RuntimeError

    with sentence("Something went wrong"):
        run(service(paint), GOOD | {"image": image, "width": 144, "height": 128})

    def extend(request):
        assert (request.image.width, request.image.mode) == (144, "RGB")
        assert (request.mask.width, request.mask.mode) == (144, "L")
        raise RuntimeError

    with sentence("Something went wrong"):
        mask = file(Image.new("RGB", (8, 8), "white"))
        run(service(extend), GOOD | {"image": image, "mask": mask, "width": 192, "outpaint_left": 48})
    with sentence("mask is all black, but must be white"):
        run(service(unreachable), GOOD | {"image": image, "mask": file(Image.new("L", (8, 8)))})
    with sentence("mask is b'GIF8', but must be a PNG"):
        run(service(unreachable), GOOD | {"image": image, "mask": b"GIF8"})
    with sentence("width is 3, but must be"):
        run(service(unreachable), GOOD | {"image": image, "width": 3})
    with sentence("image is b'GIF8', but must be a PNG"):
        run(service(unreachable), GOOD | {"image": b"GIF8"})
    assert service(unreachable).estimate(GOOD | {"image": image}, "")["status"] == "planned"
    assert service(unreachable).estimate(GOOD | {"image": UNREAD}, "")["status"] == "planned"


def test_a_comparison_opens_its_picture_once_and_its_plan_never(monkeypatch):
    opened = []

    async def picture(self, data, width, height, name, mode):
        opened.append(data)
        return Picture(width, height, bytes(3 * width * height))

    monkeypatch.setattr(PictureDecoder, "picture", picture)
    axes = {"x_axis": "steps", "x_values": [2, 3], "y_axis": "", "y_values": []}
    house = service(unreachable)
    asyncio.run(house.plan(GOOD | {"image": b"file"}, axes, ""))
    assert opened == []

    async def first():
        async for update in house.compare(GOOD | {"image": b"file"}, axes, ""):
            return update.details["status"]

    assert asyncio.run(first()) == "planned" and opened == [b"file"]
