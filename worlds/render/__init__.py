"""The OpenGL renderer of the world engine: `Renderer` draws a World as posed RGB, depth and ids."""

from worlds.render.renderer import Renderer
from worlds.render.stage import Stage

__all__ = ["Renderer", "Stage"]
