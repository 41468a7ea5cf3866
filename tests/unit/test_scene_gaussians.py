"""Static scenes: moving them, joining them, thinning them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import construct, generator, random_gaussians, seeds, similarity

from lyra.scene import Gaussians, InputError, rotations, sh

FIELDS = ("means", "quats", "scales", "opacities", "sh")


def same(a: Gaussians, b: Gaussians) -> bool:
    return all(getattr(a, name).equal(getattr(b, name)) for name in FIELDS) and a.seen.equal(b.seen)


@given(seeds, st.integers(0, 3))
def test_a_moved_scene_has_moved_covariances_and_colours(seed, degree):
    """covariance -> s^2 R C R^T; the colour towards a turned direction is the old one. Worst 1e-12 relative."""
    scene = random_gaussians(6, seed, degree)
    matrix, scale = similarity(seed)
    rotation = matrix[:3, :3] / scale
    moved = scene.transform(matrix)
    expected = scale**2 * rotation @ scene.covariances() @ rotation.T
    torch.testing.assert_close(moved.covariances(), expected, atol=1e-6, rtol=1e-6)  # scale is drawn in float32
    torch.testing.assert_close(moved.means, scene.means @ matrix[:3, :3].T + matrix[:3, 3])
    d = rotations.normalize(torch.randn(6, 3, generator=generator(seed), dtype=torch.float64))
    torch.testing.assert_close(sh.evaluate(moved.sh, d @ rotation.T), sh.evaluate(scene.sh, d), atol=1e-6, rtol=0)
    assert moved.seen.equal(scene.seen)


@given(seeds)
def test_moving_there_and_back_changes_nothing(seed):
    scene = random_gaussians(5, seed)
    matrix, _ = similarity(seed)
    back = scene.transform(matrix).transform(torch.linalg.inv(matrix))
    torch.testing.assert_close(back.means, scene.means, atol=1e-10, rtol=0)
    torch.testing.assert_close(back.covariances(), scene.covariances(), atol=1e-10, rtol=1e-8)
    torch.testing.assert_close(back.sh, scene.sh, atol=1e-10, rtol=0)


@given(seeds)
def test_covariances_have_the_squared_scales_as_eigenvalues(seed):
    scene = random_gaussians(6, seed)
    values = torch.linalg.eigvalsh(scene.covariances())
    torch.testing.assert_close(values, scene.scales.square().sort(-1).values)


@given(seeds, st.integers(0, 3), st.integers(0, 3))
def test_joined_scenes_keep_their_parts(seed, first, second):
    a, b = random_gaussians(3, seed, first), random_gaussians(4, seed + 1, second)
    both = Gaussians.concat([a, b])
    assert len(both) == 7
    assert both.sh_degree == max(first, second)
    torch.testing.assert_close(both[:3].sh[:, : a.sh.shape[1]], a.sh)
    assert not bool(both.sh[:3, a.sh.shape[1] :].any())
    torch.testing.assert_close(both[3:].means, b.means)
    assert both.seen.tolist() == a.seen.tolist() + b.seen.tolist()


def test_joining_with_unknown_provenance_makes_all_unknown():
    a = random_gaussians(2, 0)
    b = Gaussians(a.means, a.quats, a.scales, a.opacities, a.sh)
    assert Gaussians.concat([a, b]).seen is None
    assert len(Gaussians.concat([Gaussians.empty(), Gaussians.empty(2)])) == 0
    with pytest.raises(InputError, match="at least one part"):
        Gaussians.concat([])


@given(seeds, st.integers(0, 12), st.floats(0, 1))
def test_pruning_keeps_the_most_opaque_in_order(seed, count, least):
    scene = random_gaussians(10, seed)
    kept = scene.prune(min_opacity=least, max_count=count)
    candidates = scene.opacities[scene.opacities >= least]
    assert len(kept) == min(count, len(candidates))
    assert kept.opacities.sort(descending=True).values.equal(candidates.sort(descending=True).values[: len(kept)])
    places = [scene.opacities.tolist().index(o) for o in kept.opacities.tolist()]
    assert places == sorted(places)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_pruning_drops_what_is_not_finite(name, value):
    scene = random_gaussians(4, 0)
    getattr(scene, name)[2] = value
    assert scene.finite().tolist() == [True, True, False, True]
    assert len(scene.prune()) == 3
    assert len(scene.prune(max_count=4)) == 3


def test_indexing_moving_between_types_and_detaching():
    scene = random_gaussians(5, 1)
    mask = scene.opacities > scene.opacities.median()
    assert same(scene[mask], scene[mask.nonzero()[:, 0]])
    assert same(scene[torch.tensor([4, 0])][1:], scene[:1])
    single = scene.to(torch.float32)
    assert all(getattr(single, name).dtype == torch.float32 for name in FIELDS)
    assert single.seen.dtype == torch.bool
    grown = Gaussians(*[getattr(scene, name).requires_grad_() for name in FIELDS])
    assert not any(getattr(grown.detach(), name).requires_grad for name in FIELDS)


def test_colour_without_a_view():
    rgb = torch.rand(4, 3)
    scene = Gaussians.from_rgb(torch.zeros(4, 3), torch.ones(4, 4), torch.ones(4, 3), torch.ones(4), rgb)
    torch.testing.assert_close(scene.rgb, rgb)
    assert scene.sh_degree == 0


@given(seeds)
def test_gradients_reach_every_parameter_through_a_move(seed):
    scene = random_gaussians(2, seed)
    inputs = [getattr(scene, name).clone().requires_grad_() for name in FIELDS]
    matrix, _ = similarity(seed)
    moved = Gaussians(*inputs).transform(matrix)
    total = moved.means.sum() + moved.covariances().square().sum() + moved.sh.square().sum() + moved.opacities.sum()
    for gradient in torch.autograd.grad(total, inputs):
        assert bool(gradient.isfinite().all())


BAD = {
    "quats": (torch.zeros(3, 3), "quats must be"),
    "scales": (torch.zeros(2, 3), "scales must be"),
    "opacities": (torch.zeros(3, 1), "opacities must be"),
    "sh": (torch.zeros(3, 5, 3), "1, 4, 9 or 16"),
    "seen": (torch.zeros(2, dtype=torch.bool), "seen must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_shapes_are_refused_with_a_sentence(name):
    value, sentence = BAD[name]
    good = random_gaussians(3, 0)
    with pytest.raises(InputError, match=sentence):
        construct(Gaussians, **{**good.__dict__, name: value})
