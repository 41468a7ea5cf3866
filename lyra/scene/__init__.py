"""The nouns: cameras, Gaussians, and exact geometry. Torch only; no networks, no files."""

from lyra.scene.cameras import Cameras
from lyra.scene.dynamic import DynamicGaussians
from lyra.scene.errors import InputError, require
from lyra.scene.gaussians import Gaussians

__all__ = ["Cameras", "DynamicGaussians", "Gaussians", "InputError", "require"]
