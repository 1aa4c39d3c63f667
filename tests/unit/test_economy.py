"""What gradio does less often here, and that it comes to the same."""

import asyncio
import inspect

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from ui.web.economy import economize


@pytest.fixture
def blocks():
    with gr.Blocks() as blocks, gr.Row():
        gr.Textbox("red", label="colour")
        gr.HTML("<b>bold</b>")
        gr.Dropdown(["a", "b"], value="a")
    return blocks.queue()


def test_its_queue_does_not_keep_the_processor_busy_while_nothing_happens(blocks, monkeypatch):
    naps, sleep = [], asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: naps.append(seconds) or sleep(seconds))
    economize(blocks)

    async def idle():
        loops = [asyncio.create_task(loop) for loop in
                 (blocks._queue.start_processing(), blocks._queue.start_progress_updates())]  # fmt: skip
        await sleep(0.4)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    asyncio.run(idle())
    assert 2 < len(naps) < 40


def test_a_session_is_described_as_before_without_a_look_at_constructors(blocks, monkeypatch):
    before = SessionState(blocks).config_values
    economize(blocks)
    assert SessionState(blocks).config_values == before

    looked, signature = [], inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda *args, **kwargs: looked.append(args) or signature(*args, **kwargs))
    assert SessionState(blocks).config_values == before
    assert not looked


def test_what_a_session_changes_is_its_own(blocks):
    economize(blocks)
    one, other = SessionState(blocks), SessionState(blocks)
    textbox = next(key for key, block in blocks.blocks.items() if isinstance(block, gr.Textbox))
    one._update_value_in_config(textbox, "blue")
    one[textbox] = gr.Textbox("green", label="other", render=False)
    one._update_config(textbox)
    assert one.config_values[textbox]["props"]["label"] == "other"
    assert other.config_values[textbox]["props"] == SessionState(blocks).config_values[textbox]["props"]
    assert other.config_values[textbox]["props"]["value"] == "red"
