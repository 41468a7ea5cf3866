"""Where a large teacher's weights wait: on the device, or in host memory, through diffusers' own hooks."""

from importlib.util import find_spec

import torch

from lyra.scene import require
from lyra.teacher.cosmos import CosmosTeacher

MEMORY = ("full", "low", "lowest")


def place(teacher: CosmosTeacher, device: torch.device, memory: str = "full") -> None:
    """Make the teacher work on `device` (to which its inputs must be moved).

    full: all weights lie on the device (GEN3C: 14.7 GB). low: the transformer's blocks wait in host memory and visit
    the device one by one, while the one before computes; the same result. lowest: as low, but layer by layer, and the
    matrices wait as 8-bit floats, which also halves host memory and costs some accuracy. The codec always lies on the
    device.
    """
    require(memory in MEMORY, f"memory must be one of {', '.join(MEMORY)}, got {memory!r}")
    teacher.codec.to(device)
    network = teacher.network
    if memory == "full":
        network.to(device)
        return
    require(
        find_spec("accelerate") is not None,
        f'memory="{memory}" needs the package accelerate: pip install "lyra[teacher]"',
    )
    stream = device.type == "cuda"
    if memory == "lowest":
        network.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=network.patch_embed.proj.weight.dtype
        )
        network.enable_group_offload(device, offload_type="leaf_level", use_stream=stream, low_cpu_mem_usage=stream)
    else:
        network.enable_group_offload(device, offload_type="block_level", num_blocks_per_group=1, use_stream=stream)
