"""Other tools' texts about how a picture was made, a reader each. Which one is meant shows in the text itself."""

from pipeline.metadata.parsing import read_json, reading, section
from pipeline.metadata.readers import civitai, comfyui, fooocus, invokeai, novelai, swarmui


def read(text: str) -> dict | None:
    """What a text of one of these tools means, as `infotext.parse` tells it, with "clip_skip" as A1111 counts; None
    for a text of another form.
    """
    if not text.lstrip().startswith("{"):
        return invokeai.read_command(text)
    found = read_json(text, dict)
    if not found:
        return None
    if "nodes" in found and "links" in found:
        note = "It has ComfyUI's workflow, which is how the editor looked, and not the prompt, which is what was run."
        return reading({}, [], {}, [note])
    if comfyui.is_its(graph := section(found, "prompt")):
        # Nodes that save JPEG and WebP write both as one object.
        return comfyui.read(graph)
    for reader in (civitai, comfyui, swarmui, novelai, invokeai):
        if reader.is_its(found):
            return reader.read(found)
    return fooocus.read(found)
