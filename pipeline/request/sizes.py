"""Sizes that a model paints well: the area that it was trained at, in the shapes that people ask for. Pure."""

import math

from pipeline.request.limits import Limits

# Wide ones; the tall ones are these turned.
ASPECTS = ((1, 1), (4, 3), (3, 2), (16, 9), (21, 9))
# Models of this side and more were trained at sides that are multiples of 64 (Podell et al. 2023, appendix I).
LARGE, COARSE = 512, 64


def good_sizes(limits: Limits) -> list[dict]:
    """For callers, ready for JSON: `name` ("3:2"), `width` and `height` in pixels of each aspect that the model can do.

    Of all sizes with nine tenths of the model's usual area, or more and not above it, the nearest in shape.
    """
    usual = limits.width * limits.height
    step = COARSE if min(limits.width, limits.height) >= LARGE else limits.size_step
    sides = range(math.ceil(limits.size_min / step) * step, limits.size_max + 1, step)
    fitting = [(w, h) for w in sides for h in sides if 0.9 * usual <= w * h <= usual]
    found: dict[tuple[int, int], dict] = {}
    for wide, tall in ASPECTS:
        if fitting:
            width, height = min(fitting, key=lambda size: abs(math.log(size[0] * tall / (size[1] * wide))))
            found.setdefault((width, height), {"name": f"{wide}:{tall}", "width": width, "height": height})
    return [*found.values()]
