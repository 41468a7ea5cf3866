"""What `render` promises: shapes, meaning of its outputs, determinism, and one sentence for every bad input."""

import concurrent.futures

import pytest
import torch

import lyra
from benchmarks import splat_scenes
from lyra.render import Rendering, backends, cpu, render
from lyra.scene import Cameras, Gaussians, InputError, rotations

BOTH = pytest.mark.parametrize("backend", ["cpu", "reference"])
CAMERA = splat_scenes.cameras(1, 40, 24)[0]


def one(mean: tuple[float, float, float], **changes: object) -> Gaussians:
    """A single round red Gaussian."""
    values = {"size": 0.1, "opacity": 0.9} | changes
    return Gaussians.from_rgb(
        torch.tensor([mean], dtype=torch.float32),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.full((1, 3), values["size"]),
        torch.tensor([values["opacity"]]),
        torch.tensor([[0.9, 0.1, 0.2]]),
    )


@BOTH
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,)], ids=str)
def test_any_batch_of_cameras_is_the_same_as_one_by_one(batch, backend):
    """Shapes follow the cameras; splitting views changes nothing, to the bit."""
    scene = splat_scenes.blobs(100, 40, 24)
    flat = splat_scenes.cameras(6, 40, 24)
    count = int(torch.tensor(batch).prod()) if batch else 1
    cameras = Cameras(flat.c2w[:count].reshape(*batch, 4, 4), flat.K[:count].reshape(*batch, 3, 3), 40, 24)
    backgrounds = torch.rand(*batch, 3, generator=torch.Generator().manual_seed(0))
    picture = render(scene, cameras, backgrounds, backend=backend)
    assert [tuple(p.shape) for p in picture] == [(*batch, c, 24, 40) for c in (3, 1, 1)]
    for k in range(count):
        single = render(scene, flat[k], backgrounds.reshape(-1, 3)[k], backend=backend)
        for whole, alone in zip(picture, single, strict=True):
            assert torch.equal(whole.reshape(-1, *alone.shape)[k], alone)


@BOTH
def test_a_single_gaussian_lies_where_the_camera_projects_it(backend):
    """The centroid of alpha is the projected mean, its depth the mean's, its colour its own."""
    camera = splat_scenes.cameras(2, 40, 24)[1]
    for mean in ((0.2, -0.1, 4.0), (-0.7, 0.4, 3.5)):
        scene = one(mean, size=0.15)
        picture = render(scene, camera, backend=backend)
        weight = picture.alpha[0] / picture.alpha.sum()
        centroid = (weight[..., None] * camera.pixel_grid()).sum((0, 1))
        pixel, depth = camera.project(scene.means)
        assert torch.allclose(centroid, pixel[0], atol=0.02)
        drawn = picture.alpha[0] > 0
        assert torch.allclose(picture.depth[0][drawn], depth.expand(int(drawn.sum())), rtol=1e-4)
        assert torch.allclose(picture.rgb[:, drawn] / picture.alpha[:, drawn], scene.rgb.T, atol=1e-4)
        assert (picture.depth[0][~drawn] == 0).all() and (picture.rgb[:, ~drawn] == 0).all()


@BOTH
def test_background_shows_through(backend):
    """rgb(background) = rgb(black) + (1 - alpha) background, and the default is black."""
    scene, background = splat_scenes.blobs(60, 40, 24), torch.tensor([0.1, 0.6, 1.0])
    black, over = render(scene, CAMERA, backend=backend), render(scene, CAMERA, background, backend=backend)
    assert torch.allclose(over.rgb, black.rgb + (1 - black.alpha) * background[:, None, None], atol=1e-6)
    assert torch.equal(black.rgb, render(scene, CAMERA, torch.zeros(3), backend=backend).rgb)


@BOTH
def test_nothing_to_draw_is_an_empty_picture_with_gradients(backend):
    """No Gaussians, all behind, all invisible, all broken."""
    broken = one((0, 0, 4))
    broken.means[0, 0] = torch.nan
    scenes = [Gaussians.empty(), one((0, 0, -4)), one((50, 0, 4)), one((0, 0, 4), opacity=1e-3), broken]
    scenes.append(one((0, 0, 4), size=0.0))
    for scene in scenes:
        leaf = scene.means.clone().requires_grad_()
        moved = Gaussians(leaf, scene.quats, scene.scales, scene.opacities, scene.sh)
        picture = render(moved, CAMERA, torch.ones(3), backend=backend)
        assert (picture.rgb == 1).all() and (picture.depth == 0).all() and (picture.alpha == 0).all()
        (picture.rgb.sum() + picture.depth.sum()).backward()
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@BOTH
def test_broken_gaussians_are_left_out_and_get_zero_gradients(backend):
    """The picture is that of the others."""
    scene = splat_scenes.hostile(200, 40, 24)
    good = scene.finite() & (scene.scales != 0).any(-1) & (scene.quats != 0).any(-1)
    assert 0 < int((~good).sum()) < 20
    leaf = scene.means.clone().requires_grad_()
    sick = Gaussians(leaf, scene.quats, scene.scales, scene.opacities, scene.sh)
    picture = render(sick, CAMERA, backend=backend)
    assert torch.equal(picture.rgb, render(scene[good], CAMERA, backend=backend).rgb)
    picture.rgb.sum().backward()
    assert leaf.grad.isfinite().all() and (leaf.grad[~good] == 0).all()


@BOTH
def test_depth_limits(backend):
    """Only what lies between them along z is drawn."""
    scene = Gaussians.concat([one((0, 0, 2)), one((0, 0, 5))])
    near = render(scene, CAMERA, backend=backend, far=3.0)
    far = render(scene, CAMERA, backend=backend, near=3.0)
    # float32 alpha = 1 - transmittance is good to 1.5e-5 where it is faintest, and depth is divided by it
    assert near.depth.max() == pytest.approx(2, rel=1e-4) and far.depth.max() == pytest.approx(5, rel=1e-4)
    assert torch.equal(near.rgb, render(scene[:1], CAMERA, backend=backend).rgb)


def test_results_do_not_depend_on_threads_or_on_who_else_renders():
    """Pictures and gradients are equal to the bit with 1 and 2 threads, and from several Python threads at once."""
    scene, cameras = splat_scenes.hostile(3000, 90, 70), splat_scenes.cameras(2, 90, 70)
    scene = scene[scene.finite()]

    def everything() -> list[torch.Tensor]:
        leaves = [t.clone().requires_grad_() for t in (scene.means, scene.quats, scene.scales, scene.opacities)]
        picture = render(Gaussians(*leaves, scene.sh), cameras)
        (picture.rgb.square().sum() + picture.depth.sum()).backward()
        return [*picture, *(leaf.grad for leaf in leaves)]

    expected, threads = everything(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        again = [everything()]
    finally:
        torch.set_num_threads(threads)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        again += [job.result() for job in [pool.submit(everything) for _ in range(3)]]
    for results in again:
        assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


def test_float32_under_autocast_and_from_half_precision():
    """Networks may run in bfloat16; geometry does not. The reference alone keeps float64."""
    scene = splat_scenes.blobs(80, 40, 24)
    half = scene.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        picture = render(scene, CAMERA)
    assert all(part.dtype == torch.float32 for part in picture)
    assert torch.equal(picture.rgb, render(scene, CAMERA).rgb)
    assert torch.equal(render(half, CAMERA).rgb, render(half.to(torch.float32), CAMERA).rgb)
    double = scene.to(torch.float64)
    assert render(double, CAMERA).rgb.dtype == torch.float32
    assert render(double, CAMERA, backend="reference").rgb.dtype == torch.float64


def test_view_dependent_colour_turns_with_the_camera():
    """A Gaussian whose degree-1 colour grows along +x is darker seen from +x (looking along -x)."""
    sh = torch.zeros(1, 4, 3)
    sh[:, 3] = -0.5  # the basis function of coefficient 3 is -C1 x
    scene = Gaussians(torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.5), torch.ones(1), sh)
    eyes = torch.tensor([[-4.0, 0, 0], [4.0, 0, 0]])
    poses = rotations.look_at(eyes, torch.zeros(2, 3), torch.tensor([0.0, 1, 0]).expand(2, 3))
    rgb = render(scene, Cameras.from_fov(poses, 60.0, 21, 21)).rgb[:, 0, 10, 10]
    assert rgb.tolist() == pytest.approx([0.999 * (0.5 + 0.4886 / 2), 0.999 * (0.5 - 0.4886 / 2)], abs=1e-3)


def test_large_and_lopsided_pictures():
    """Sizes that no tile divides; a picture of one pixel; nothing is lost at the borders of tiles."""
    for width, height in ((1, 1), (17, 1), (1, 33), (333, 5)):
        scene, camera = splat_scenes.blobs(50, 40, 24), splat_scenes.cameras(1, width, height)[0]
        ours, exact = render(scene, camera), render(scene, camera, backend="reference")
        assert (ours.rgb - exact.rgb).abs().max() < 5e-3


BAD = {
    "backend": ({"backend": "gpu"}, "backend must be one of"),
    "near": ({"near": 0.0}, "0 < near < far"),
    "far": ({"near": 2.0, "far": 1.0}, "0 < near < far"),
    "background": ({"background": torch.ones(2, 3)}, "background must be"),
    "cuda": ({"backend": "cuda"}, "cuda"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_one_sentence(name):
    """InputError, with what was expected."""
    arguments, words = BAD[name]
    with pytest.raises(InputError, match=words) as caught:
        render(one((0, 0, 4)), CAMERA, **arguments)
    assert "\n" not in str(caught.value)


def test_cameras_that_cannot_be_drawn_are_refused():
    """Skew, cameras that want gradients, pictures that are too large for the CPU."""
    skewed = CAMERA.K.clone()
    skewed[0, 1] = 3.0
    with pytest.raises(InputError, match="skew"):
        render(one((0, 0, 4)), Cameras(CAMERA.c2w, skewed, 40, 24))
    with pytest.raises(InputError, match="no gradients to cameras"):
        render(one((0, 0, 4)), Cameras(CAMERA.c2w.clone().requires_grad_(), CAMERA.K, 40, 24))
    with pytest.raises(InputError, match="at most 32767 pixels"):
        render(one((0, 0, 4)), Cameras(CAMERA.c2w, CAMERA.K, 40000, 1))


def test_the_package_can_be_called_as_the_function():
    """`lyra.render` is this package once it is imported, and the function before: both draw."""
    assert isinstance(lyra.render(one((0, 0, 4)), CAMERA), Rendering)
    assert set(backends()) == {"reference", "cpu", "cuda"}
    assert backends()["cpu"] is None
    assert torch.cuda.is_available() or "NVIDIA GPU" in backends()["cuda"]


def test_threads_follow_torch(monkeypatch):
    """The smaller of torch's and numba's thread counts."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(cpu.numba.config, "NUMBA_NUM_THREADS", 1)
    assert cpu._threads() == 1
    monkeypatch.setattr(cpu.numba.config, "NUMBA_NUM_THREADS", 64)
    assert cpu._threads() == threads
