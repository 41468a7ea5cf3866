"""Free stand-ins for SuperTuxKart textures that may not be trained on.

Debian's list covers only part of the shared textures; the rest counts as GPL. In a track kept for training such a
texture is replaced by a shared one of the same stuff under a free licence, tinted to the same mean colour, or by that
colour alone. Leaves are masks, so their stand-ins are masks as well.
"""

import re

import numpy as np

from worlds.sources.obj import linear

_SOLID = (
    (r"snow.?rock|rock.?snow", "snowrock.jpg"),
    (r"snow|_ice", "racetrack_wall.jpg"),
    (r"aztek|castle|stonewall|wallrock|oldbrick|church", "castelwall.jpg"),
    (r"brickroad|cobble", "Paving_stones_2.jpg"),
    (r"brick", "beige_bricks.jpg"),
    (r"karst|cliff|strata", "rockMountain.jpg"),
    (r"rock|stone|coral|stalac", "rock_mountain.jpg"),
    (r"grass|field", "grass2.jpg"),
    (r"sand", "sand.png"),
    (r"roof", "roof.png"),
    (r"tiles", "toll_roof.png"),
    (r"concrete|greywall|runway|plate|base1", "concrete_plain.png"),
    (r"stucco|plaster|paper|cardboard|carpet|fabric", "bumpy_surface.png"),
    (r"bark|tree", "TiZeta_barkM.png"),
    (r"wood|log_|pallet|rope|thatch|hay|bamboo", "wood_planks1.jpg"),
    (r"metal|iron|corrug|panel", "city_metal.png"),
    (r"road|gravel|asphalt|track", "gfx_detailmap_a.png"),
    (r"earth|dirt|mud|mine", "dirt.jpg"),
    (r"water|fall|lava", "water_light.png"),
)
_MASKED = (
    (r"palm", "palm_b.png"),
    (r"pine|conifer|branch", "tree_1.png"),
    (r"autumn", "stktex_autumnLeaf_b.png"),
    (r"grass|wheat|corn|cattail|seaweed", "GrassTall.png"),
    (r"fern|jungle|leaf|liana|ivy|agave|bush|flower", "vegetation_1.png"),
)


def stand_in(texture: str, masked: bool) -> str | None:
    """The file of the free texture of the same stuff as `texture`, None if there is none."""
    stuff = texture.lower()
    return next((file for pattern, file in (_MASKED if masked else _SOLID) if re.search(pattern, stuff)), None)


def tint(wanted: np.ndarray, given: np.ndarray) -> tuple[float, float, float]:
    """The linear colour that brings the mean of the RGBA image `given` to that of `wanted`, at most 1."""
    means = [np.array(linear(tuple(_mean(rgba)))) for rgba in (wanted, given)]
    return tuple(float(v) for v in np.clip(means[0] / np.maximum(means[1], 1e-3), 0, 1))


def _mean(rgba: np.ndarray) -> np.ndarray:
    seen = rgba[rgba[..., 3] >= 128] if (rgba[..., 3] >= 128).any() else rgba.reshape(-1, 4)
    return seen[:, :3].mean(axis=0) / 255


def mean_colour(rgba: np.ndarray) -> tuple[float, float, float]:
    """The mean linear colour of the visible texels."""
    return linear(tuple(_mean(rgba)))
