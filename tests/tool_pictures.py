"""Pictures as other tools write them, made by their documented layouts, and what they mean here."""

import gzip
import io
import json

from PIL import Image, PngImagePlugin


def comment(text: str, kind: bytes = b"UNICODE\0", encoding: str = "utf-16-be") -> bytes:
    made = Image.Exif()
    made.get_ifd(0x8769)[0x9286] = kind + text.encode(encoding)
    return made.tobytes()


def png(size=(64, 64), **texts: str) -> bytes:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_text(name.replace("__", "-"), text)
    Image.new("RGB", size).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def other(form: str, exif: bytes) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, form, exif=exif)
    return file.getvalue()


def hidden(text: str, mark: str, size=(64, 96)) -> bytes:
    """Bit by bit as the extension for stealth PNG info writes it: down the columns, in alpha or in all colours."""
    packed = gzip.compress(text.encode(), mtime=0) if mark.endswith("comp") else text.encode()
    bits = "".join(f"{byte:08b}" for byte in mark.encode() + (8 * len(packed)).to_bytes(4, "big") + packed)
    alpha = "png" in mark
    image, file = Image.new("RGBA" if alpha else "RGB", size, "white"), io.BytesIO()
    places = iter([(x, y, c) for x in range(size[0]) for y in range(size[1]) for c in ([3] if alpha else range(3))])
    for bit, (x, y, channel) in zip(bits, places):
        pixel = list(image.getpixel((x, y)))
        pixel[channel] = pixel[channel] & ~1 | int(bit)
        image.putpixel((x, y), tuple(pixel))
    image.save(file, "PNG")
    return file.getvalue()


A1111 = """a castle, (stone:1.2) <lora:renamed:0.5:0.8>
Negative prompt: people
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 123, Size: 832x1216, Model: pony, \
Clip skip: 2, Lora hashes: "renamed: cdcdcdcdcdcd", Version: v1.10.1"""
CIVITAI = """a red cube\nNegative prompt: blue\nSteps: 12, Sampler: Euler, CFG scale: 1, Seed: 391201976, \
Size: 1024x768, Civitai resources: [{"type":"checkpoint","modelVersionId":42,"modelName":"Example"},\
{"type":"lora","weight":0.6,"modelVersionId":43,"modelName":"ink"}], Civitai metadata: {"workflow":"txt2img"}"""
FOOOCUS = {"prompt": "a cat", "negative_prompt": "dog", "steps": 30, "sampler": "dpmpp_2m_sde_gpu",
           "scheduler": "karras", "seed": "11", "guidance_scale": 4.0, "resolution": "(896, 1152)", "clip_skip": 2,
           "sharpness": 2, "loras": [["ink.safetensors", 0.5, "abababab"]], "base_model": "jugger",
           "base_model_hash": "aeb7e9e689", "metadata_scheme": "fooocus", "version": "Fooocus v2.5.5"}  # fmt: skip
SWARM = {"sui_image_params": {
    "prompt": "office", "negativeprompt": "feet", "model": "pony", "seed": 6952411511246973023, "steps": 28,
    "cfgscale": 6.0, "aspectratio": "8:5", "width": 1216, "height": 768, "sampler": "euler_ancestral",
    "scheduler": "normal", "clipstopatlayer": "-2", "loras": ["styles/ink"], "loraweights": ["0.4"],
    "swarm_version": "0.9.8.1"}}  # fmt: skip
NOVELAI = {"prompt": "{{1girl}}, [solo], very (happy)", "steps": 28, "height": 1216, "width": 832, "scale": 5.0,
           "uncond_scale": 1.0, "cfg_rescale": 0.1, "seed": 3333, "n_samples": 1, "noise_schedule": "karras",
           "sampler": "k_euler_ancestral", "sm": True, "uc": "1.5::lowres::, bad"}  # fmt: skip
DREAM = '"a castle++ (of stone) [people]" -s 50 -S 2044117341 -W 512 -H 512 -C 7.5 -A k_lms -G 0.9 -cf 0.75 -U 4 0.75'
SD_METADATA = {"model": "stable diffusion", "model_weights": "sd-1.5", "app_id": "invoke-ai/InvokeAI",
               "app_version": "2.3.0", "image": {
                   "prompt": [{"prompt": "a castle [people]", "weight": 1.0}], "steps": 30, "cfg_scale": 7.5,
                   "height": 768, "width": 512, "seed": 42, "seamless": False, "type": "txt2img",
                   "sampler": "k_dpm_2_a", "variations": []}}  # fmt: skip
INVOKEAI = {"app_version": "5.0.0", "generation_mode": "sdxl_txt2img", "positive_prompt": "a fox",
            "negative_prompt": "x", "positive_style_prompt": "", "width": 1024, "height": 832, "seed": 77,
            "rand_device": "cpu", "cfg_scale": 6, "steps": 30, "scheduler": "dpmpp_2m_sde_k",
            "cfg_rescale_multiplier": 0, "controlnets": [],
            "model": {"key": "k", "name": "juggernaut", "base": "sdxl", "type": "main"},
            "loras": [{"model": {"key": "l", "name": "ink", "base": "sdxl"}, "weight": 0.75}]}  # fmt: skip


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def ksampler(**inputs) -> dict:
    usual = {"seed": 7, "steps": 24, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0,
             "model": ["11", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}  # fmt: skip
    return node("KSampler", **usual | inputs)


COMFY = {
    "3": ksampler(),
    "4": node("CheckpointLoaderSimple", ckpt_name="xl.safetensors"),
    "5": node("EmptyLatentImage", width=832, height=1216, batch_size=1),
    "6": node("CLIPTextEncode", text="a [red] fox", clip=["12", 0]),
    "7": node("CLIPTextEncode", text="blurry", clip=["12", 0]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", filename_prefix="x", images=["8", 0]),
    "10": node("LoraLoader", lora_name="folder\\ink.safetensors", strength_model=0.8, strength_clip=0.5, model=["4", 0],
               clip=["4", 1]),
    "11": node("LoraLoaderModelOnly", lora_name="gloss.safetensors", strength_model=0.3, model=["10", 0]),
    "12": node("CLIPSetLastLayer", stop_at_clip_layer=-3, clip=["10", 1]),
}  # fmt: skip
HIRES = COMFY | {
    "20": node("LatentUpscaleBy", upscale_method="bislerp", scale_by=1.5, samples=["3", 0]),
    "21": ksampler(seed=8, steps=12, denoise=0.4, latent_image=["20", 0]),
    "8": node("VAEDecode", samples=["21", 0], vae=["4", 2]),
}  # fmt: skip
REFINED = COMFY | {
    "3": node("KSamplerAdvanced", add_noise="enable", noise_seed=2**40 + 5, steps=25, cfg=8, sampler_name="euler",
              scheduler="normal", start_at_step=0, end_at_step=20, return_with_leftover_noise="enable",
              model=["4", 0], positive=["30", 0], negative=["7", 0], latent_image=["5", 0]),
    "30": node("CLIPTextEncodeSDXL", text_g=["31", 0], text_l=["31", 0], width=1024, height=1024, clip=["4", 1]),
    "31": node("PrimitiveString", value="a lighthouse"),
    "32": node("KSamplerAdvanced", add_noise="disable", noise_seed=0, steps=25, cfg=8, sampler_name="euler",
               scheduler="normal", start_at_step=20, end_at_step=10000, return_with_leftover_noise="disable",
               model=["33", 0], positive=["6", 0], negative=["7", 0], latent_image=["3", 0]),
    "33": node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors"),
    "8": node("VAEDecode", samples=["32", 0], vae=["4", 2]),
}  # fmt: skip
CUSTOM = COMFY | {
    "3": node("SamplerCustomAdvanced", noise=["40", 0], guider=["41", 0], sampler=["42", 0], sigmas=["43", 0],
              latent_image=["44", 0]),
    "40": node("RandomNoise", noise_seed=["47", 0]),
    "41": node("CFGGuider", cfg=3.5, model=["46", 0], positive=["48", 0], negative=["7", 0]),
    "42": node("KSamplerSelect", sampler_name="euler_ancestral"),
    "43": node("BasicScheduler", scheduler="sgm_uniform", steps=20, denoise=0.6, model=["4", 0]),
    "44": node("VAEEncode", pixels=["45", 0], vae=["4", 2]),
    "45": node("LoadImage", image="photo.png"),
    "46": node("FreeU_V2", b1=1.3, model=["11", 0]),
    "47": node("Seed (rgthree)", seed=99),
    "48": node("ControlNetApplyAdvanced", strength=1, positive=["6", 0], negative=["7", 0], control_net=["49", 0]),
    "49": node("ControlNetLoader", control_net_name="canny"),
}  # fmt: skip


def workflow(graph: dict) -> str:
    """The editor's view of a graph, as far as its links go."""
    links = [(str(value[0]), target) for target, node in graph.items() for value in node["inputs"].values()
             if isinstance(value, list)]  # fmt: skip
    return json.dumps({"nodes": [], "links": [[n, a, 0, b, 0, "ANY"] for n, (a, b) in enumerate(links)]})


CAMERA = Image.Exif()
CAMERA[0x0110] = "prompt:" + json.dumps(COMFY)
CIVITAI_GRAPH = COMFY | {"extra": {"airs": []}, "extraMetadata": json.dumps(
    {"prompt": "a red fox", "negativePrompt": "blurry", "steps": 24, "cfgScale": 6.5, "sampler": "dpmpp_2m", "seed": 7,
     "workflowId": "txt2img"})}  # fmt: skip
INK = [{"id": "ink", "weight": 0.8, "text_weight": 0.5}, {"id": "gloss", "weight": 0.3, "text_weight": 0.0}]
OF_COMFY = {"prompt": r"a \[red\] fox", "negative_prompt": "blurry", "seed": 7, "steps": 24, "guidance_scale": 6.5,
            "scheduler": "DPM++ 2M Karras", "width": 832, "height": 1216, "clip_skip": 1, "adapters": INK,
            "rng": "own"}  # fmt: skip
OF_A1111 = {"prompt": "a castle, (stone:1.2)", "negative_prompt": "people", "steps": 20, "scheduler": "DPM++ 2M Karras",
            "guidance_scale": 7, "seed": 123, "width": 832, "height": 1216, "clip_skip": 0, "rng": "nv",
            "adapters": [{"id": "ink", "weight": 0.8, "text_weight": 0.5}]}  # fmt: skip
# name -> the file, what it means, what is said of the rest.
PICTURES: dict[str, tuple[bytes, dict, list[str]]] = {
    "A1111 PNG": (png(parameters=A1111), OF_A1111, ["model 'pony'"]),
    "A1111 JPEG": (other("JPEG", comment(A1111)), OF_A1111, ["model 'pony'"]),
    "A1111 WebP": (other("WEBP", comment(A1111, encoding="utf-16-le")), OF_A1111, ["model 'pony'"]),
    "stealth PNG in alpha, packed": (hidden(A1111, "stealth_pngcomp"), OF_A1111, ["model 'pony'"]),
    "stealth PNG in alpha": (hidden(A1111, "stealth_pnginfo"), OF_A1111, ["model 'pony'"]),
    "stealth PNG in colours, packed": (hidden(A1111, "stealth_rgbcomp"), OF_A1111, ["model 'pony'"]),
    "stealth PNG in colours": (hidden(A1111, "stealth_rgbinfo"), OF_A1111, ["model 'pony'"]),
    "Fooocus PNG": (png(parameters=json.dumps(FOOOCUS), fooocus_scheme="fooocus"), {
        "prompt": "a cat", "negative_prompt": "dog", "steps": 30, "scheduler": "DPM++ 2M SDE Karras", "seed": 11,
        "guidance_scale": 4, "width": 896, "height": 1152, "clip_skip": 0, "adapters": [{"id": "ink", "weight": 0.5}],
        "rng": "own"}, ["model 'jugger'", "Not used here: sharpness"]),
    "ComfyUI PNG": (png(prompt=json.dumps(COMFY), workflow=workflow(COMFY)), OF_COMFY, ["model 'xl.safetensors'"]),
    "ComfyUI WebP": (other("WEBP", CAMERA.tobytes()), OF_COMFY, ["model 'xl.safetensors'"]),
    "ComfyUI PNG, two passes": (png(prompt=json.dumps(HIRES), workflow=workflow(HIRES)), OF_COMFY | {
        "hires_scale": 1.5, "hires_steps": 30, "hires_strength": 0.4, "hires_upscaler": "latent"},
        ["xl.safetensors", "Its 12 steps at a strength of 0.4 are the last of 30 here."]),
    "ComfyUI PNG, base and refiner": (png(prompt=json.dumps(REFINED)), {
        "prompt": "a lighthouse", "negative_prompt": "blurry", "seed": 5, "steps": 25, "guidance_scale": 8,
        "scheduler": "Euler normal", "adapters": [], "width": 832},
        [f"{2**40 + 5} is larger than 32 bits; 5 draws the same noise", "stopped before the picture was clean",
         "One more sampler went over it"]),
    "ComfyUI PNG, custom sampler over a picture": (png(prompt=json.dumps(CUSTOM)), {
        "prompt": r"a \[red\] fox", "seed": 99, "steps": 33, "guidance_scale": 3.5, "scheduler": "Euler a SGM uniform",
        "strength": 0.6061, "adapters": INK, "clip_skip": 1},
        ["painted over another picture", "Its 20 steps at a strength of 0.6 are the last of 33 here.",
         "Its size comes from a picture", "FreeU_V2", "ControlNetApplyAdvanced"]),
    "ComfyUI PNG, workflow only": (png(workflow=json.dumps({"nodes": [], "links": []})), {"prompt": ""},
                                   ["how the editor looked", "It says no prompt."]),
    "SwarmUI PNG": (png(parameters=json.dumps(SWARM)), {
        "prompt": "office", "negative_prompt": "feet", "steps": 28, "seed": 6952411511246973023 % 2**32, "width": 1216,
        "height": 768, "guidance_scale": 6, "scheduler": "Euler a normal", "clip_skip": 0, "rng": "own",
        "adapters": [{"id": "ink", "weight": 0.4}]}, ["model 'pony'", "draws the same noise on a CPU."]),
    "InvokeAI PNG, command line": (png(Dream=DREAM), {
        "prompt": "a (castle:1.21) of stone", "negative_prompt": "people", "steps": 50, "seed": 2044117341,
        "width": 512, "height": 512, "guidance_scale": 7.5, "scheduler": "LMS"}, ["Not used here: -G, -cf, -U."]),
    "InvokeAI PNG, sd-metadata": (png(Dream=DREAM, sd__metadata=json.dumps(SD_METADATA)), {
        "prompt": "a castle", "negative_prompt": "people", "steps": 30, "seed": 42, "width": 512, "height": 768,
        "guidance_scale": 7.5, "scheduler": "DPM2 a"}, ["model 'sd-1.5'"]),
    "InvokeAI PNG, invokeai_metadata": (png(invokeai_metadata=json.dumps(INVOKEAI), invokeai_graph="{}"), {
        "prompt": "a fox", "negative_prompt": "x", "steps": 30, "seed": 77, "width": 1024, "height": 832,
        "guidance_scale": 6, "scheduler": "DPM++ 2M SDE Karras", "adapters": [{"id": "ink", "weight": 0.75}],
        "rng": "own"}, ["model 'juggernaut'"]),
    "NovelAI PNG": (png(Title="NovelAI generated image", Description=NOVELAI["prompt"], Software="NovelAI",
                        Source="Stable Diffusion XL 7BCCAA2C", Comment=json.dumps(NOVELAI)), {
        "prompt": r"((1girl:1.05):1.05), (solo:0.9524), very \(happy\)", "negative_prompt": "(lowres:1.5), bad",
        "steps": 28, "seed": 3333, "width": 832, "height": 1216, "guidance_scale": 5, "guidance_rescale": 0.1,
        "scheduler": "Euler a Karras", "rng": "own"}, ["expect another picture", "XL 7BCCAA2C'", "sm"]),
    "NovelAI stealth PNG": (hidden(json.dumps({"Description": "x", "Software": "NovelAI", "Source": "y",
                                               "Comment": json.dumps(NOVELAI)}), "stealth_pngcomp"),
                            {"negative_prompt": "(lowres:1.5), bad", "seed": 3333},
                            ["expect another picture", "model 'y'"]),
    "Civitai JPEG": (other("JPEG", comment(CIVITAI)), {
        "prompt": "a red cube", "negative_prompt": "blue", "steps": 12, "scheduler": "Euler", "guidance_scale": 1,
        "seed": 391201976, "width": 1024, "height": 768, "adapters": [{"id": "ink", "weight": 0.6}], "rng": "own"}, []),
    "Civitai JPEG, with its graph": (other("JPEG", comment(json.dumps(CIVITAI_GRAPH))),
                                     OF_COMFY | {"prompt": "a red fox"}, ["xl.safetensors"]),
}  # fmt: skip
