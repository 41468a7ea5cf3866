"""Long paths: depth put to scale, frames shared between chunks, caches that grow. The world is a slanted wall."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from lyra.scene import Cameras, InputError
from lyra.teacher.cache import Cache, CacheOptions
from lyra.teacher.chunks import LongPath, continue_path, nearest
from lyra.teacher.cosmos import CosmosConfig, CosmosTeacher
from lyra.teacher.depth_align import align_depth

H, W, FRAMES = 32, 48, 9


def _path(end: float, count: int) -> Cameras:
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, 0, 3] = torch.linspace(0, end, count)
    return Cameras.from_fov(c2w, 60.0, W, H)


def _wall(camera: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Image [3, H, W] in [-1, 1] and depth of the wall z = 2 + x / 2, as one camera of shape [] sees them."""
    rays = camera.rays()[1]
    rays = rays / rays[..., 2:]
    x0 = camera.centers[0]
    z = (2 + 0.5 * x0) / (1 - 0.5 * rays[..., 0])
    x, y = x0 + rays[..., 0] * z, rays[..., 1] * z
    return torch.stack([torch.sin(3 * x), torch.cos(4 * y), torch.sin(2 * (x + y))]), z


@dataclass(frozen=True)
class Seen:
    depth: torch.Tensor
    valid: torch.Tensor


def test_depth_of_another_scale_and_shift_is_put_right():
    """In inverse depth, with a tenth of wild values in the known part. Worst relative error 1e-4."""
    camera = _path(0.0, 1)[0]
    true = _wall(camera)[1]
    known = torch.where(torch.arange(W) < 30, true, 0.0)
    known[::5, ::2] *= 1.7
    guess = 1 / (0.3 / true + 0.05)
    aligned = align_depth(guess, torch.ones_like(true, dtype=torch.bool), known, camera)
    assert ((aligned - true) / true).abs().median() < 0.02
    clean = align_depth(guess, torch.ones_like(true, dtype=torch.bool), torch.where(known > 0, true, 0.0), camera)
    assert ((clean - true) / true).abs().max() < 2e-3


def test_the_scale_map_bends_depth_that_no_line_can_mend():
    """A ramp of 6 % across the image is reduced to less than a half where the depth is known."""
    camera = _path(0.0, 1)[0]
    true = _wall(camera)[1]
    y = torch.linspace(0.97, 1.03, H)[:, None]
    aligned = align_depth(true * y, torch.ones_like(true, dtype=torch.bool), true, camera)
    assert ((aligned - true) / true).abs().mean() < 0.5 * float((y - 1).abs().mean())


def test_sky_stays_sky_and_too_little_overlap_is_named():
    camera = _path(0.0, 1)[0]
    true = _wall(camera)[1]
    valid = torch.ones_like(true, dtype=torch.bool)
    valid[:5] = False
    aligned = align_depth(torch.where(valid, true, torch.inf), valid, true, camera)
    assert aligned[:5].isinf().all() and aligned[5:].isfinite().all()
    with pytest.raises(InputError, match=r"only 0\.0 % of the frame"):
        align_depth(true, valid, torch.zeros_like(true), camera)


class _Oracle(CosmosTeacher):
    """A teacher that knows the wall: it returns the true video and remembers what it was asked."""

    def __init__(self, cameras: Cameras, buffers: int) -> None:
        self.config = CosmosConfig(buffers=buffers)
        self.codec = SimpleNamespace(decode=self._decode)
        self.cameras, self.asked, self.seeds = cameras, [], []

    def condition(self, request):
        self.asked.append(request)
        return request

    def noise(self, cond, seeds):
        self.seeds += seeds
        return torch.zeros(1, 2, 2, 4, 6)

    def sample(self, cond, noise, **options):
        return noise + len(self.asked)

    def _decode(self, latents):
        start = (len(self.asked) - 1) * (FRAMES - 1)
        return torch.stack([_wall(self.cameras[start + k])[0] for k in range(FRAMES)], 1)[None]


@pytest.mark.parametrize("buffers", [1, 2])
def test_chunks_share_a_frame_and_the_cache_follows_the_camera(buffers):
    """With depth of a wrong scale and shift. Worst error of the warps in later chunks 0.02 of a range of 2."""
    cameras = _path(1.2, 3 * (FRAMES - 1) + 1)
    image, depth = _wall(cameras[0])
    cache = Cache.from_depth(image[None], depth[None], cameras[:1], CacheOptions(drop_edges=False))
    teacher = _Oracle(cameras, buffers)
    place = iter(range(FRAMES - 1, len(cameras), FRAMES - 1))

    def network(frame: torch.Tensor) -> Seen:
        truth, z = _wall(cameras[next(place)])
        assert (frame - (0.5 + 0.5 * truth)).abs().max() < 1e-5
        return Seen(1 / (0.2 / z + 0.1), torch.ones_like(z, dtype=torch.bool))

    chunks = list(continue_path(teacher, LongPath(image, cache, cameras, FRAMES), network, 5))
    assert [len(chunk.cameras) for chunk in chunks] == [FRAMES] * 3 and teacher.seeds == [5, 6, 7]
    assert torch.equal(chunks[0].cameras.c2w[-1], chunks[1].cameras.c2w[0])
    assert torch.equal(teacher.asked[1].image[0], chunks[0].video[0, :, -1])
    assert [asked.warp.shape[2] for asked in teacher.asked] == [1, buffers, buffers]
    for index, asked in enumerate(teacher.asked):
        mask = asked.warp_mask[0, -1, 0, 0] > 0
        truth = _wall(cameras[(index + 1) * (FRAMES - 1)])[0]
        assert mask.float().mean() > 0.75
        assert (asked.warp[0, -1, 0] - truth)[:, mask].abs().mean() < 0.03
    if buffers == 2:  # the first frame is never lost
        assert torch.equal(teacher.asked[2].warp[0, :, 1], cache.warp(chunks[2].cameras).image)


def test_a_path_that_is_no_whole_number_of_chunks_is_named():
    cameras = _path(0.1, 12)
    image, depth = _wall(cameras[0])
    cache = Cache.from_depth(image[None], depth[None], cameras[:1])
    with pytest.raises(InputError, match=r"k x 8 \+ 1 cameras \(9, 17, \.\.\.\), got 12"):
        LongPath(image, cache, cameras, FRAMES)


def test_nearest_takes_the_nearer_cache_and_leaves_the_sky_out():
    cameras = _path(0.0, 1)
    image, depth = _wall(cameras[0])
    sky = depth.clone()
    sky[:8] = torch.inf
    near, far = (Cache.from_depth(image[None], z[None], cameras) for z in (0.5 * depth, sky))
    known = nearest([far], cameras)
    assert (known[:6] == 0).all() and torch.allclose(known[12:-3, 3:-3], depth[12:-3, 3:-3], rtol=1e-2)
    assert torch.allclose(nearest([far, near], cameras)[3:-3, 3:-3], 0.5 * depth[3:-3, 3:-3], rtol=1e-2)
