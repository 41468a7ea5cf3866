"""Depth of one image: depth along z, the camera's K, and where there is sky.

`load(name)` gives a model; `model(image [3, h, w] in [0, 1], K=None)` gives a `DepthMap` at the image's size.
"""

from lyra.depth.depth_map import DepthMap
from lyra.depth.load import DepthModel, load

__all__ = ["DepthMap", "DepthModel", "load"]
