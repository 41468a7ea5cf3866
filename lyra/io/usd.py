"""OpenUSD `.usdc`, `.usda`, `.usdz` with ParticleField3DGaussianSplat (OpenUSD 26.03 and later; extra `usd`).

The stage is Y-up. The arrays stay in our axes (OpenCV) under an Xform that turns by 180 degrees about x, so what is
read back is bit for bit what was written. A moving scene is two fields: `still`, and `moving` with one time sample of
every array a frame.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lyra.io import storage
from lyra.io.atomic import replacing_file
from lyra.scene import DynamicGaussians, Gaussians, InputError, require

_SUFFIXES = (".usd", ".usdc", ".usda", ".usdz")


def save(
    scene: Gaussians | DynamicGaussians,
    path: str | os.PathLike,
    *,
    scale: str | None = None,
    gravity: Sequence[float | int] | None = None,
) -> None:
    """Write `scene`; provenance becomes `primvars:seen`.

    `scale` "metric" sets metersPerUnit to 1 (as it is otherwise for want of anything better); `scale` and `gravity`
    (in the arrays' axes) go into customLayerData. Moving Gaussians are written once a frame, so a moving scene comes
    back as a flip-book. Raises InputError without the extra or for scenes that are empty or not finite.
    """
    Gf, Sdf, Tf, Usd, UsdGeom, UsdUtils, _ = _pxr(path)
    suffix = Path(path).suffix.lower()
    require(suffix in _SUFFIXES, f"{path}: a USD file ends in {', '.join(_SUFFIXES)}")
    moving = isinstance(scene, DynamicGaussians)
    storage.to_write(scene.gaussians if moving else scene, path)
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, "/Scene")
    root.AddRotateXOp().Set(180.0)
    stage.SetDefaultPrim(root.GetPrim())
    notes = {"generator": "Lyra", "axes": "x right, y down, z forward before the rotation of /Scene"}
    notes |= {"scale": scale} if scale else {}
    notes |= {"gravity": Gf.Vec3d(*gravity)} if gravity is not None else {}
    stage.GetRootLayer().customLayerData = notes
    still = scene.static if moving else scene
    if len(still):
        _write_field(stage, "/Scene/still", {None: still}, path)
    if moving:
        times = scene.frame_times().tolist()
        stage.SetTimeCodesPerSecond(scene.fps)
        stage.SetFramesPerSecond(scene.fps)
        stage.SetStartTimeCode(0)
        stage.SetEndTimeCode(len(times) - 1)
        rest = scene.moving
        if len(rest):
            _write_field(stage, "/Scene/moving", {i: rest.at(time) for i, time in enumerate(times)}, path)
    with replacing_file(path) as temporary:
        layer = temporary.with_suffix(".usdc") if suffix == ".usdz" else temporary
        try:
            done = stage.GetRootLayer().Export(str(layer))
            if suffix == ".usdz":
                done = done and UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(temporary))
        except Tf.ErrorException as error:
            raise InputError(f"{path}: cannot be written ({str(error).splitlines()[-1].strip()})") from error
        finally:
            if suffix == ".usdz":
                layer.unlink(missing_ok=True)
        require(done, f"{path}: cannot be written")


def _write_field(stage, prim_path: str, samples: dict[int | None, Gaussians], path: str | os.PathLike) -> None:
    """One ParticleField3DGaussianSplat with a value (key None) or time samples (keys are time codes)."""
    from pxr import Sdf, Usd, UsdGeom, UsdVol, Vt

    field = UsdVol.ParticleField3DGaussianSplat.Define(stage, prim_path)
    field.CreateSortingModeHintAttr().Set("cameraDistance")
    known = all(part.seen is not None for part in samples.values())
    seen = UsdGeom.PrimvarsAPI(field).CreatePrimvar("seen", Sdf.ValueTypeNames.BoolArray, "vertex") if known else None
    for code, part in samples.items():
        part = storage.to_write(part, path, allow_empty=True)
        time = Usd.TimeCode.Default() if code is None else Usd.TimeCode(code)
        field.CreatePositionsAttr().Set(Vt.Vec3fArray.FromNumpy(part.means.numpy()), time)
        turned = np.ascontiguousarray(part.quats.numpy()[:, [1, 2, 3, 0]])  # arrays of quatf are i, j, k, real
        field.CreateOrientationsAttr().Set(Vt.QuatfArray.FromNumpy(turned), time)
        field.CreateScalesAttr().Set(Vt.Vec3fArray.FromNumpy(part.scales.numpy()), time)
        field.CreateOpacitiesAttr().Set(Vt.FloatArray.FromNumpy(part.opacities.numpy()), time)
        flat = np.ascontiguousarray(part.sh.numpy().reshape(-1, 3))
        field.CreateRadianceSphericalHarmonicsCoefficientsAttr().Set(Vt.Vec3fArray.FromNumpy(flat), time)
        if seen is not None:
            seen.Set(Vt.BoolArray.FromNumpy(part.seen.numpy()), time)
        if len(part):
            reach = 3 * part.scales.amax(1, keepdim=True)
            corners = torch.stack([(part.means - reach).amin(0), (part.means + reach).amax(0)])
            field.CreateExtentAttr().Set(Vt.Vec3fArray.FromNumpy(corners.numpy()), time)
    field.CreateRadianceSphericalHarmonicsDegreeAttr().Set(next(iter(samples.values())).sh_degree)


def load(path: str | os.PathLike) -> Gaussians | DynamicGaussians:
    """Read every ParticleField3DGaussianSplat of a stage, in our axes; time samples become a flip-book.

    Half-precision arrays are read too. Raises InputError without the extra, for a damaged file or for one without
    Gaussians.
    """
    _, _, Tf, Usd, UsdGeom, _, UsdVol = _pxr(path)
    try:
        stage = Usd.Stage.Open(str(path))
    except (Tf.ErrorException, RuntimeError) as error:
        raise InputError(f"{path}: is not a whole USD file ({str(error).splitlines()[-1].strip()})") from error
    require(stage is not None, f"{path}: is not a USD file")
    up = {"Y": np.diag([1.0, -1, -1, 1]), "Z": np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])}
    ours = up[str(UsdGeom.GetStageUpAxis(stage))]
    fields = [UsdVol.ParticleField3DGaussianSplat(prim) for prim in stage.Traverse()]
    fields = [field for field in fields if field]
    require(len(fields) > 0, f"{path}: holds no ParticleField3DGaussianSplat, so no Gaussians")
    moving = [field for field in fields if _samples(field)]
    still = [_read_field(field, Usd.TimeCode.Default(), ours, path) for field in fields if not _samples(field)]
    if not moving:
        return still[0] if len(still) == 1 else Gaussians.concat(still)
    first, last, fps = stage.GetStartTimeCode(), stage.GetEndTimeCode(), stage.GetTimeCodesPerSecond()
    good = 0 < fps < 1e6 and 0 <= last - first < 1e6
    require(good, f"{path}: its time codes {first:g} to {last:g} at {fps:g} a second make no sense")
    codes = [Usd.TimeCode(first + i) for i in range(int(last - first) + 1)]
    frames = [Gaussians.concat([_read_field(field, code, ours, path) for field in moving]) for code in codes]
    return DynamicGaussians.from_frames(frames, fps, static=Gaussians.concat(still) if still else None)


def _samples(field) -> bool:
    return any(a.ValueMightBeTimeVarying() for a in (field.GetPositionsAttr(), field.GetPositionshAttr()))


def _read_field(field, code, ours: np.ndarray, path: str | os.PathLike) -> Gaussians:
    """One field at one time, in our axes."""
    from pxr import UsdGeom

    def column(full: str, width: int) -> np.ndarray:
        getters = (getattr(field, f"Get{name}Attr")() for name in (full, f"{full}h"))
        value = next((v for v in (getter.Get(code) for getter in getters) if v is not None), None)
        require(value is not None, f"{path}: {field.GetPath()} has no {full}")
        return np.array(value, np.float32).reshape(-1, width)

    name = f"{path}: {field.GetPath()}"
    means, quats = column("Positions", 3), column("Orientations", 4)[:, [3, 0, 1, 2]]
    scales, opacities = column("Scales", 3), column("Opacities", 1)[:, 0]
    degree = field.GetRadianceSphericalHarmonicsDegreeAttr().Get()
    require(degree in (0, 1, 2, 3), f"{name} has SH degree {degree}; degrees 0 to 3 can be read")
    flat, n, k = column("RadianceSphericalHarmonicsCoefficients", 3), len(means), (degree + 1) ** 2
    whole = len(quats) == len(scales) == len(opacities) == n and len(flat) == n * k
    require(whole, f"{name} has arrays of different lengths")
    primvar = UsdGeom.PrimvarsAPI(field).GetPrimvar("seen")
    seen = np.array(primvar.Get(code), bool) if primvar and primvar.HasValue() else None
    require(seen is None or seen.shape == (n,), f"{name} has arrays of different lengths")
    if n == 0:
        scene = Gaussians.empty(degree)
        return scene if seen is None else Gaussians.concat([scene])
    scene, _ = storage.to_scene(name, means, quats, scales, opacities, flat.reshape(n, k, 3), seen)
    # USD transforms row vectors
    world = np.array(UsdGeom.Xformable(field).ComputeLocalToWorldTransform(code), np.float64).T
    matrix = ours @ world
    require(bool(np.isfinite(matrix).all()), f"{name} has a transform that is not finite")
    return scene if np.allclose(matrix, np.eye(4), atol=1e-7) else scene.transform(torch.from_numpy(matrix).float())


def _pxr(path: str | os.PathLike):
    """The modules of the optional package usd-core that are needed here."""
    try:
        from pxr import Gf, Sdf, Tf, Usd, UsdGeom, UsdUtils, UsdVol
    except ImportError as error:
        raise InputError(f"{path}: USD files need OpenUSD; pip install 'lyra-3d[usd]'") from error
    require(
        hasattr(UsdVol, "ParticleField3DGaussianSplat"),
        f"{path}: this OpenUSD is older than 26.03; pip install -U 'lyra-3d[usd]'",
    )
    return Gf, Sdf, Tf, Usd, UsdGeom, UsdUtils, UsdVol
