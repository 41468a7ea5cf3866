"""Posed RGB, depth and object ids of a World by OpenGL: which face each sample sees, then shading by compute."""

import moderngl
import numpy as np

from worlds.errors import WorldsError
from worlds.render.context import assign, is_software, open_context
from worlds.render.exposure import solve_exposure
from worlds.render.light_volume import LightBaker
from worlds.render.programs import Programs
from worlds.render.shadow import MAX_LAMPS, box_corners, depth_map
from worlds.render.stage import Stage
from worlds.render.textures import TextureStore
from worlds.scene import Frames, World

BATCH = 8  # frames read back at once
METER_FRAMES = 3


class Renderer:
    """Owns the context, programs and targets of one image size; scenes share its texture array.

    `size` (height, width) px; `supersample` 1-4 samples along each pixel side decide coverage (shading is once per
    face and pixel); `device` as in open_context; `texture_size` px of a texture layer. Deterministic on one machine.
    Not thread-safe; use one per process.
    """

    def __init__(
        self,
        size: tuple[int, int] = (256, 448),
        supersample: int = 2,
        device: str = "auto",
        texture_size: int = 256,
    ) -> None:
        if min(size) < 8 or not 1 <= supersample <= 4:
            raise WorldsError(f"size must be at least 8 x 8 and supersample 1 to 4, not {size} and {supersample}")
        self.height, self.width = size
        self.supersample = supersample
        self.ctx = ctx = open_context(device)
        self.software = is_software(ctx)
        self.textures = TextureStore(ctx, texture_size, 1.0 if self.software else 8.0)
        self.programs = Programs(ctx, supersample)
        self.baker = LightBaker(ctx, not self.software, self.programs.light_defines)
        self._targets()

    def _targets(self) -> None:
        ctx = self.ctx
        self.seen = _target(ctx, self.width * self.supersample, self.height * self.supersample)
        self.seen_centre = self.seen if self.supersample % 2 else _target(ctx, self.width, self.height)
        self.meter_size = (max(8, self.height // 4), max(8, self.width // 4))
        self.seen_meter = _target(ctx, self.meter_size[1], self.meter_size[0])
        pixels = self.height * self.width
        self.words_per_row = -(-self.width // 4) * 3
        sizes = {"rgb": self.height * self.words_per_row, "depth": pixels, "ids": pixels}
        self.outputs = [{k: ctx.buffer(reserve=4 * BATCH * n) for k, n in sizes.items()} for _ in range(2)]
        self.vectors = [{k: ctx.buffer(reserve=16) for k in ("normals", "motion")} for _ in range(2)]
        self.metered = ctx.buffer(reserve=4 * 3 * METER_FRAMES * self.meter_size[0] * self.meter_size[1])
        self.lamp_face = 256 if self.software else 512
        sizes = {"sun": (1024, 1024), "floor": (512, 512), "lamps": (6 * self.lamp_face, MAX_LAMPS * self.lamp_face)}
        self.mover_maps = {name: depth_map(ctx, size) for name, size in sizes.items()}

    def upload(self, world: World) -> Stage:
        """Puts a world on the device: geometry, textures, shadow maps and baked light. Call `release()` after use."""
        with self.ctx:
            stage = Stage(self.ctx, world, self.textures, self.programs)
            stage.light(self.lamp_face, self.baker)
        return stage

    def render(
        self,
        scene: Stage,
        c2w: np.ndarray,
        K: np.ndarray,
        times: np.ndarray,
        normals: bool = False,
        motion: bool = False,
        mean_luma: float = 0.44,
    ) -> Frames:
        """Frames for c2w f64 [t, 4, 4] (OpenCV), K f64 [t, 3, 3] (px) and times f64 [t] s.

        One exposure for all frames makes the mean luma of first, middle and last `mean_luma` (sRGB-coded, 0-1).
        Raises WorldsError when the shapes do not fit each other or the numbers are not finite.
        """
        c2w, K, times = (np.asarray(a, np.float64) for a in (c2w, K, times))
        if c2w.shape != (len(times), 4, 4) or K.shape != (len(times), 3, 3) or not len(times):
            raise WorldsError(
                f"cameras must be c2w [t, 4, 4], K [t, 3, 3], times [t]: {c2w.shape} {K.shape} {times.shape}"
            )
        if not (np.isfinite(c2w).all() and np.isfinite(K).all() and np.isfinite(times).all()):
            raise WorldsError("camera poses, intrinsics and times must be finite")
        with self.ctx:
            out = self._clip(scene, c2w, K, times, normals, motion, mean_luma)
        rgb = out["rgb"].view(np.uint8).reshape(len(times), self.height, -1)[:, :, : self.width * 3]
        rgb = np.ascontiguousarray(rgb).reshape(len(times), self.height, self.width, 3)
        return Frames(rgb, out["depth"], out["ids"], c2w, K, times, out.get("normals"), out.get("motion"))

    def _clip(
        self, scene: Stage, c2w: np.ndarray, K: np.ndarray, times: np.ndarray, normals: bool, motion: bool, luma: float
    ) -> dict[str, np.ndarray]:
        """All frames of a clip, drawn and read back in batches: one batch is drawn while the last one is fetched."""
        cameras = list(zip(c2w, K, scene.mover_tables(times), strict=True))
        scene.aim_sun(c2w[:, :3, 3])
        self._bind(scene)
        exposure = self._metered_exposure(scene, cameras, luma)
        out = self._empty(len(times), normals, motion)
        pending: tuple[int, int, int] | None = None
        for batch, first in enumerate(range(0, len(times), BATCH)):
            slot, count = batch % 2, min(BATCH, len(times) - first)
            self._bind_outputs(slot, normals, motion)
            for k in range(count):
                self._frame(scene, *cameras[first + k], k, exposure, (int(normals), int(motion)))
            if pending:
                self._read(out, *pending)
            pending = (slot, first, count)
        self._read(out, *pending)
        return out

    def _empty(self, count: int, normals: bool, motion: bool) -> dict[str, np.ndarray]:
        shape = (count, self.height, self.width)
        out = {
            "rgb": np.empty((count, self.height, self.words_per_row), np.uint32),
            "depth": np.empty(shape, np.float32),
            "ids": np.empty(shape, np.int32),
        }
        wanted = {"normals": normals, "motion": motion}
        return out | {k: np.empty((*shape, 3), np.float32) for k, want in wanted.items() if want}

    def _bind(self, scene: Stage) -> None:
        scene.bind()
        for unit, name in ((4, "sun"), (5, "lamps"), (12, "floor")):
            self.mover_maps[name][0].use(unit)
        self.shade, self.meter = self.programs.shading(scene.movers is not None)
        for program in (self.shade, self.meter):
            assign(program, **scene.uniforms)

    def _bind_outputs(self, slot: int, normals: bool, motion: bool) -> None:
        for binding, name in ((4, "rgb"), (5, "depth"), (6, "ids")):
            self.outputs[slot][name].bind_to_storage_buffer(binding)
        need = 12 * BATCH * self.height * self.width
        for binding, name, want in ((7, "normals", normals), (8, "motion", motion)):
            if want and self.vectors[slot][name].size < need:
                self.vectors[slot][name].release()
                self.vectors[slot][name] = self.ctx.buffer(reserve=need)
            self.vectors[slot][name].bind_to_storage_buffer(binding)

    def _read(self, out: dict[str, np.ndarray], slot: int, first: int, count: int) -> None:
        self.ctx.memory_barrier()
        buffers = self.outputs[slot] | self.vectors[slot]
        for name, array in out.items():
            part = array[first : first + count]
            buffers[name].read_into(memoryview(part).cast("B"), size=part.nbytes)

    def _frame(
        self, scene: Stage, c2w: np.ndarray, K: np.ndarray, movers: tuple, slot: int, exposure: float, extras: tuple
    ) -> None:
        self._place(scene, movers)
        self._draw(scene, self.seen, self.supersample, c2w, K, (self.width, self.height))
        if self.seen_centre is not self.seen:
            self._draw(scene, self.seen_centre, 1, c2w, K, (self.width, self.height))
        self.seen.color_attachments[0].use(8)
        self.seen_centre.color_attachments[0].use(9)
        self._dispatch(self.shade, scene, c2w, K, (self.width, self.height), slot, exposure=exposure, extras=extras)

    def _place(self, scene: Stage, movers: tuple | None) -> None:
        """Moves the movers to a frame's time and draws their shadows."""
        if movers is None:
            return
        uniforms = scene.place_movers(movers, {name: target for name, (_, target) in self.mover_maps.items()})
        for program in (self.shade, self.meter):
            assign(program, **uniforms)

    def _draw(
        self,
        scene: Stage,
        target: moderngl.Framebuffer,
        samples: int,
        c2w: np.ndarray,
        K: np.ndarray,
        size: tuple[int, int],
    ) -> None:
        target.use()
        target.clear(depth=1.0)
        self.ctx.enable_only(moderngl.DEPTH_TEST)
        pinhole = np.diag([target.width / size[0], target.height / size[1], 1.0]) @ K
        far = 1.05 * np.linalg.norm(box_corners(scene.low, scene.high) - c2w[:3, 3], axis=1).max() + 1.0
        camera = {
            "world_to_camera": c2w[:3, :3].T,
            "camera": c2w[:3, 3],
            "pinhole": pinhole,
            "target": (float(target.width), float(target.height)),
            "depth_range": (scene.near, float(far)),
        }
        for masked in (False, True):
            program = self.programs.draw[samples, masked]
            scene.draw_faces(program, masked, camera)

    def _dispatch(
        self,
        program: moderngl.ComputeShader,
        scene: Stage,
        c2w: np.ndarray,
        K: np.ndarray,
        size: tuple[int, int],
        slot: int,
        **values: object,
    ) -> None:
        assign(
            program,
            camera_to_world=c2w[:3, :3],
            camera=c2w[:3, 3],
            unproject=np.linalg.inv(K),
            size=size,
            frame=slot,
            words_per_row=self.words_per_row,
            sky_lod=scene.sky_lod(K[1, 1]),
            **values,
        )
        self.ctx.memory_barrier()
        program.run(-(-size[0] // 8), -(-size[1] // 8), 1)

    def _metered_exposure(self, scene: Stage, cameras: list, mean_luma: float) -> float:
        """Draws up to three small frames and solves the exposure from their linear light."""
        height, width = self.meter_size
        scale = np.diag([width / self.width, height / self.height, 1.0])
        picks = sorted({0, len(cameras) // 2, len(cameras) - 1})
        self.metered.bind_to_storage_buffer(7)
        for slot, k in enumerate(picks):
            c2w, K, movers = cameras[k]
            self._place(scene, movers)
            self._draw(scene, self.seen_meter, 1, c2w, scale @ K, (width, height))
            self.seen_meter.color_attachments[0].use(8)
            self.seen_meter.color_attachments[0].use(9)
            self._dispatch(self.meter, scene, c2w, scale @ K, (width, height), slot, exposure=1e-6, extras=(0, 0))
        self.ctx.memory_barrier()
        raw = self.metered.read(size=len(picks) * height * width * 12)
        samples = np.frombuffer(raw, np.float32).reshape(-1, 3)
        return solve_exposure(samples[:: max(1, len(samples) // 4096)], mean_luma)

    def release(self) -> None:
        """Frees the context; scenes must be released before."""
        with self.ctx:
            self.textures.release()
        self.ctx.release()

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _target(ctx: moderngl.Context, width: int, height: int) -> moderngl.Framebuffer:
    faces = ctx.texture((width, height), 1, dtype="u4")
    faces.filter = (moderngl.NEAREST, moderngl.NEAREST)
    return ctx.framebuffer([faces], ctx.depth_renderbuffer((width, height)))
