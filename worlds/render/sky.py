"""The sky panorama as a picture and as a light."""

import moderngl
import numpy as np

from worlds.scene import Sky


def panorama_texture(ctx: moderngl.Context, sky: Sky) -> moderngl.Texture:
    """The panorama as half floats with mipmaps (wraps around the horizon, clamps at the poles)."""
    height, width = sky.panorama.shape[:2]
    rgba = np.ones((height, width, 4), np.float16)
    rgba[..., :3] = np.clip(sky.panorama, 0, 6e4)
    texture = ctx.texture((width, height), 4, rgba.tobytes(), dtype="f2")
    texture.build_mipmaps()
    texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
    texture.repeat_x, texture.repeat_y = True, False
    return texture


def sky_light(sky: Sky) -> np.ndarray:
    """What multiplies the panorama so that an up-facing surface gets `sky.ambient` of light from it, f64 [3]."""
    height = sky.panorama.shape[0]
    if height == 1:
        mean = sky.panorama.mean(axis=(0, 1), dtype=np.float64)
    else:
        upper = sky.panorama[: height // 2].mean(axis=1, dtype=np.float64)
        angle = (np.arange(len(upper)) + 0.5) * np.pi / height
        weight = np.sin(angle) * np.cos(angle)
        mean = (upper * weight[:, None]).sum(axis=0) / weight.sum()
    return np.asarray(sky.ambient) / np.maximum(mean, 1e-4)
