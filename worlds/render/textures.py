"""Surface textures of all scenes in one mipmapped array, uploaded once per pack key."""

from dataclasses import dataclass, field

import moderngl
import numpy as np
from PIL import Image

from worlds.render.context import compute_program
from worlds.scene import Texture


def resized(rgba: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [h, w, 4] at another size (area-averaged when smaller)."""
    if rgba.shape[:2] == (height, width):
        return np.ascontiguousarray(rgba)
    kind = Image.Resampling.BOX if rgba.shape[0] >= height and rgba.shape[1] >= width else Image.Resampling.BICUBIC
    bands = [Image.fromarray(np.ascontiguousarray(rgba[..., k])).resize((width, height), kind) for k in range(4)]
    return np.stack([np.asarray(band) for band in bands], axis=-1)


@dataclass
class TextureStore:
    """A growing 2D array texture; `layer(texture)` gives its layer, uploading it the first time it is seen.

    The colours of transparent texels are spread from their neighbours' mips, so leaves get no dark rims.
    """

    ctx: moderngl.Context
    size: int
    anisotropy: float
    capacity: int = 64
    array: moderngl.TextureArray = field(init=False)

    def __post_init__(self) -> None:
        self._layers: dict[str, int] = {}
        self._images: list[np.ndarray] = []
        self._mipped = 0
        self._mips = compute_program(self.ctx, "mips.comp")
        self._allocate()

    def _allocate(self) -> None:
        self.array = self.ctx.texture_array((self.size, self.size, self.capacity), 4)
        self.array.build_mipmaps()
        self.array.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self.array.anisotropy = self.anisotropy
        for layer, image in enumerate(self._images):
            self._write(layer, image)
        self._mipped = 0

    def _write(self, layer: int, image: np.ndarray) -> None:
        self.array.write(image.tobytes(), viewport=(0, 0, layer, self.size, self.size, 1))

    def layer(self, texture: Texture) -> int:
        """The array layer of a texture (a texture is known by its key)."""
        if texture.key not in self._layers:
            image = resized(texture.rgba, self.size, self.size)
            if len(self._images) == self.capacity:
                self.array.release()
                self.capacity *= 2
                self._allocate()
            self._layers[texture.key] = len(self._images)
            self._write(len(self._images), image)
            self._images.append(image)
        return self._layers[texture.key]

    def finish(self) -> None:
        """Makes the mip levels of the textures added since the last call (averaged as linear light)."""
        new = len(self._images) - self._mipped
        if new == 0:
            return
        self._mips["first_layer"].value = self._mipped
        for level in range(1, self.size.bit_length()):
            self.ctx.memory_barrier()
            self.array.bind_to_image(0, read=True, write=False, level=level - 1)
            self.array.bind_to_image(1, read=False, write=True, level=level)
            groups = max(1, -(-(self.size >> level) // 8))
            self._mips.run(groups, groups, new)
        self.ctx.memory_barrier()
        self._mipped = len(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def release(self) -> None:
        self.array.release()
        self._mips.release()
