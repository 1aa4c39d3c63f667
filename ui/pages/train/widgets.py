"""The widgets of the page where one trains: what is learnt from, and what comes of it."""

import gradio as gr

from training.pictures import MAX_PICTURES, MIN_PICTURES
from ui.pages.common.widget import widget


def picture_sheet(most_bytes: int, most_caption: int) -> gr.HTML:
    """A place to drop pictures, and the sheet of them: what of each is learnt, and its caption.

    Value: `{"files": uploaded files, "left_out": names of pictures, "captions": {name: text}}`. Event `look` (all files
    and those that are `fresh`) carries a `number`; its answer goes into the property `answer` with the same one:
    `pictures`, each with name, caption, width, height, box and a small copy, or an `error`. Files above `most_bytes`
    are not sent.
    """
    value: dict = {"files": [], "left_out": [], "captions": {}}
    return widget(
        "train", "pictures", value, ["files"], live={"answer": None}, most_bytes=most_bytes,
        least=MIN_PICTURES, most=MAX_PICTURES, max_characters=most_caption,
    )  # fmt: skip


def training_run(more: int) -> gr.HTML:
    """How far a training is, its curve, its samples, and what can be done with these.

    Value: what `Trainings.view` gives, or `{"status": "empty"}`. Events `stop`, `cancel`, `keep` {step}, each with the
    owner and a number, whose `answer` is an error or nothing; `more` {steps}, `more` of them if nothing else is
    written; and `paint`, to go where one paints.
    """
    return widget("train", "run", {"status": "empty"}, ["job", "acts"], live={"answer": None}, most=more)
