"""The whole chain: a photograph in, imagined videos (`imagine`) or a scene of Gaussians (`generate`) out.

photo -> depth -> 3D cache -> six camera paths -> teacher -> latents -> decoder -> Gaussians -> files.
"""

from lyra.pipeline.generate import generate
from lyra.pipeline.imagination import Imagination
from lyra.pipeline.imagine import imagine
from lyra.pipeline.job import Job
from lyra.pipeline.result import Scene

__all__ = ["Imagination", "Job", "Scene", "generate", "imagine"]
