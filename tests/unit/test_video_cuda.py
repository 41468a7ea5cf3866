"""A video on a GPU, the same survey and scene as on the CPU: `pytest -m gpu tests/unit/test_video_cuda.py`.

Away from a CUDA device the CPU takes its place, so that the test itself can be tried anywhere.
"""

import pytest
import torch
from unit.video_world import FOCAL, HEIGHT, WIDTH, TrueDepth, camera_path, film

from lyra.depth.depth_map import centred_K
from lyra.pipeline.video_decoding import Imagined
from lyra.pipeline.video_layers import assemble, pixels
from lyra.scene import Cameras
from lyra.video.footage import Footage
from lyra.video.survey import survey

FRAMES = 9
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("still", [True, False])
def test_what_is_found_and_assembled_is_the_same(still):
    K = centred_K(FOCAL, HEIGHT, WIDTH)
    c2w = torch.eye(4).repeat(FRAMES, 1, 1) if still else camera_path(FRAMES).c2w
    frames, depth, _ = film(Cameras(c2w, K.repeat(FRAMES, 1, 1), WIDTH, HEIGHT))
    model = TrueDepth(frames, depth, K, 0.1)

    def found_on(device: str):
        footage = Footage(frames.to(device), torch.arange(FRAMES), 12.0, "clip", (WIDTH, HEIGHT))
        made = survey(footage, lambda image: model(image.cpu()))
        assert made.depth.device.type == made.moving.device.type == device and made.still == still
        return made.to(torch.device("cpu"))

    cpu, gpu = found_on("cpu"), found_on(DEVICE)
    assert float((cpu.moving != gpu.moving).float().mean()) < 0.002
    both = cpu.depth.isfinite() & gpu.depth.isfinite() & (cpu.moving == gpu.moving)
    assert float((gpu.depth / cpu.depth - 1)[both].abs().quantile(0.99)) < 1e-3

    def scene_on(device: str):
        behind = pixels(cpu.cameras[0], frames[0], depth[0] + 1, torch.ones(HEIGHT, WIDTH, dtype=torch.bool)).to(device)
        imagined = Imagined(behind, torch.zeros(len(behind), dtype=torch.long, device=device), None, 4)
        made = assemble(frames, cpu, imagined, 12.0)
        assert made.start.device.type == device
        return made

    assert len(scene_on(DEVICE)) == pytest.approx(len(scene_on("cpu")), rel=0.002)
