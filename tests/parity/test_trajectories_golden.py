"""The paper's camera paths against matrices recorded from the published code (float32)."""

import pytest
import torch
from golden_cases import Case, case, cases

from lyra.scene import Cameras
from lyra.scene.lyra_paths import LYRA_SET, STUDENT_ORDER, LyraPath, lyra_set
from lyra.scene.trajectories import follow

SPIRALS = ("clockwise", "counterclockwise")


def start(w2c: torch.Tensor) -> Cameras:
    """The camera(s) with this world-to-camera pose; the lens plays no part."""
    return Cameras.from_fov(torch.linalg.inv(w2c.double()).float(), 60.0, 64, 48)


def initial(recorded: Case, part: dict) -> torch.Tensor:
    """The start pose that a part of the case names."""
    where = part["initial_w2c"]
    return torch.eye(4) if where == "identity" else recorded.tensors[where.split("'")[1]]


@pytest.mark.parametrize("name", cases("trajectories"))
@pytest.mark.parametrize("part", ["long", "short"])
def test_every_path_and_rotation(name, part):
    """Worst difference 3.3e-7."""
    recorded = case(name)
    spec = recorded.config[part]
    camera = start(initial(recorded, spec))
    for kind in recorded.config["types"]:
        distance = spec["spiral_distance" if kind in SPIRALS else "linear_distance"]
        path = LyraPath(kind, distance, **spec["spiral"])
        for rotation in recorded.config["rotations"]:
            poses = path.poses(spec["num_frames"], float(spec["center_depth"]), rotation)
            recorded.check(f"{part}.{kind}.{rotation}", follow(camera, poses).w2c)


@pytest.mark.parametrize("name", cases("trajectories"))
def test_paths_about_a_moving_camera(name):
    """Worst difference 5e-7."""
    recorded = case(name)
    spec = recorded.config["per_frame"]
    cameras = start(initial(recorded, spec))
    for kind in recorded.config["types"]:
        path = LyraPath(kind, spec["distance"], **spec["spiral"])
        poses = path.poses(spec["num_frames"], float(spec["center_depth"]), spec["rotation"])
        recorded.check(f"per_frame.{kind}", follow(cameras, poses).w2c)


@pytest.mark.parametrize("name", cases("trajectories"))
def test_the_set_of_six(name):
    """Kinds, distances and radii for every recorded draw, and the poses as the decoder receives them."""
    recorded = case(name)
    for key, table in recorded.spec["multi_trajectory_set"]["table"].items():
        factor, draw = (float(word.split("=")[1]) for word in key.split())
        for folder, (entry, path) in enumerate(zip(table, lyra_set(torch.full((6,), draw), factor), strict=True)):
            assert entry["folder"] == str(folder)
            assert entry["type"] == path.kind == LYRA_SET[folder][0]
            assert path.distance == pytest.approx(entry["distance"], abs=1e-12)
            for key in ("radius_x_factor", "radius_y_factor", "num_circles"):
                assert getattr(path, key) == entry[key]
    spec = recorded.config["short"]
    camera, paths = start(initial(recorded, spec)), lyra_set()
    c2w = torch.cat([follow(camera, paths[folder].poses(spec["num_frames"])).c2w for folder in STUDENT_ORDER])
    recorded.check("multi.c2w", c2w)
    six = Cameras(c2w, camera.K.expand(len(c2w), 3, 3), camera.width, camera.height)
    recorded.check("multi.relative_c2w", six.relative_to_first().c2w)
