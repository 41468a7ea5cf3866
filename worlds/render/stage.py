"""A World on the device: buffers, shadow maps and baked light, ready to be drawn from any camera."""

import moderngl
import numpy as np

from worlds.errors import WorldsError
from worlds.render.context import assign
from worlds.render.geometry import Geometry, flatten
from worlds.render.light_volume import LightBaker
from worlds.render.motion import Movers
from worlds.render.programs import Programs
from worlds.render.shadow import MAX_LAMPS, TO_UNIT, SunView, box_corners, depth_map, lamp_matrices, sun_axes
from worlds.render.sky import panorama_texture, sky_light
from worlds.render.textures import TextureStore
from worlds.scene import World

SUN_SIZE = 2048
NEAR_SUN_REACH = 40.0  # m around the cameras that the finer sun map covers
BAKED_REACH = 60.0  # m around the spawns that get indirect light; beyond it is open sky
UPWARDS = sun_axes(np.asarray([0.0, 1.0, 0.0]))
NOWHERE = np.diag([0.0, 0.0, 0.0, 1.0])  # maps everything onto a corner, outside of every lookup
NOWHERE[:3, 3] = -1.0


class Stage:
    """What `Renderer.upload` returns. `uniforms` are the light's values for the shading programs."""

    def __init__(self, ctx: moderngl.Context, world: World, textures: TextureStore, programs: Programs) -> None:
        if len(world.lamps) > MAX_LAMPS:
            raise WorldsError(f"a world has at most {MAX_LAMPS} lamps, not {len(world.lamps)}")
        self.ctx, self.world, self.textures, self.programs = ctx, world, textures, programs
        self._owned: list = []
        self.geometry = geometry = flatten(world, textures)
        textures.finish()
        self.low, self.high, self.ranges = geometry.low, geometry.high, geometry.ranges
        self.static_vertices = geometry.static_vertices
        self.near = 0.03 if world.kind == "room" else 0.1
        self._buffers(geometry)
        self._movers(geometry)
        self.sky = self._own(panorama_texture(ctx, world.sky))
        self.uniforms: dict[str, object] = {
            "lamp_count": len(world.lamps),
            "sky_gain": float(world.sky.gain),
            "sky_light": sky_light(world.sky),
            "first_mover_vertex": self.static_vertices,
            "sun_radiance": (0.0, 0.0, 0.0),
        }

    def _own(self, resource: object) -> object:
        self._owned.append(resource)
        return resource

    def _buffers(self, geometry: Geometry) -> None:
        ctx, own, world = self.ctx, self._own, self.world
        self.vertices = own(ctx.buffer(geometry.vertices))
        self.faces = own(ctx.buffer(geometry.faces))
        self.indices = own(ctx.buffer(np.ascontiguousarray(geometry.faces[:, :3])))
        self.materials = own(ctx.buffer(geometry.materials))
        lamps = np.zeros((max(1, len(world.lamps)), 8), np.float32)
        for row, lamp in zip(lamps, world.lamps, strict=False):
            row[:7] = *lamp.position, lamp.reach, *lamp.intensity
        self.lamps = own(ctx.buffer(lamps))
        images = geometry.lightmaps
        self.lightmaps = own(ctx.texture_array((images.shape[2], images.shape[1], len(images)), 4, images.tobytes()))
        self.lightmaps.repeat_x = self.lightmaps.repeat_y = False
        self.vaos = {
            program: own(
                ctx.vertex_array(
                    program,
                    [(self.vertices, "3f 4x 2f 8x", "position", "uv")],
                    index_buffer=self.indices,
                    skip_errors=True,
                )
            )
            for program in (*self.programs.draw.values(), *self.programs.shadow.values())
        }

    def _movers(self, geometry: Geometry) -> None:
        self.movers = Movers.of(self.world.movers, geometry.mover_starts) if self.world.movers else None
        count = int(geometry.mover_starts[-1] - geometry.mover_starts[0])
        self.velocities = self._own(self.ctx.buffer(reserve=16 * max(1, count)))
        if self.movers:
            self.rest = self._own(self.ctx.buffer(self.movers.rest))
            self.owner = self._own(self.ctx.buffer(self.movers.owner))
            self.mover_rows = self._own(self.ctx.buffer(reserve=56 * 4 * len(self.world.movers)))

    # --- light ---

    def light(self, lamp_face: int, baker: LightBaker) -> None:
        """Draws the static shadow maps (lamp faces of `lamp_face` px) and bakes the indirect light."""
        world, ctx = self.world, self.ctx
        self.sun_map, self.sun_target = self._depth_map(SUN_SIZE if world.sun else 1)
        self.near_map, self.near_target = self._depth_map(1)
        self.corners = box_corners(self.low, self.high)
        self.uniforms |= {"sun_near_matrix": NOWHERE, "sun_texel": (0.01, 0.01)}
        if world.sun:
            self.axes = sun_axes(np.asarray(world.sun.direction))
            self.sun_view = SunView.of(self.axes, self.corners, self.corners)
            self.draw_shadow(self.sun_target, self.sun_view.matrix, movers=False)
            self.uniforms |= {
                "sun_to": -self.axes[2],
                "sun_radiance": tuple(world.sun.radiance),
                "sun_matrix": TO_UNIT @ self.sun_view.matrix,
                "sun_texel": (self.sun_view.width / SUN_SIZE, 0.01),
            }
        rows = len(world.lamps)
        size = (6 * lamp_face, MAX_LAMPS * lamp_face) if rows else (6, MAX_LAMPS)
        self.lamp_map, self.lamp_target = (self._own(x) for x in depth_map(ctx, size))
        self.lamp_views = [lamp_matrices(lamp) for lamp in world.lamps]
        self.draw_lamp_shadows(self.lamp_target, movers=False)
        self._bind_inputs()
        moving = self.movers is not None
        self.baker = baker
        self.volume, address = baker.bake(self.geometry, self._baked_box(), self.uniforms, moving, self.sky.height)
        del self.geometry
        self.uniforms |= address

    def _baked_box(self) -> tuple[np.ndarray, np.ndarray]:
        """The box whose indirect light is baked: the scene, but of a wide level only what is around the spawns."""
        if not len(self.world.spawns):
            return self.low, self.high
        near = self.world.spawns.min(axis=0) - BAKED_REACH, self.world.spawns.max(axis=0) + BAKED_REACH
        return np.maximum(self.low, near[0]), np.minimum(self.high, near[1])

    def _depth_map(self, size: int) -> tuple[moderngl.Texture, moderngl.Framebuffer]:
        texture, target = depth_map(self.ctx, (size, size))
        return self._own(texture), self._own(target)

    def aim_sun(self, eyes: np.ndarray) -> None:
        """Draws the finer sun map around camera positions f64 [t, 3], where the scene is too wide for one map."""
        if not self.world.sun:
            return
        low, high = eyes.min(axis=0) - NEAR_SUN_REACH, eyes.max(axis=0) + NEAR_SUN_REACH
        view = SunView.of(self.axes, box_corners(low, high), self.corners)
        if view.width * 1.5 > self.sun_view.width:
            return
        if self.near_map.size[0] == 1:
            self.near_map, self.near_target = self._depth_map(SUN_SIZE)
        self.draw_shadow(self.near_target, view.matrix, movers=False)
        self.uniforms["sun_near_matrix"] = TO_UNIT @ view.matrix
        self.uniforms["sun_texel"] = (self.sun_view.width / SUN_SIZE, view.width / SUN_SIZE)

    def draw_shadow(self, target: moderngl.Framebuffer, matrix: np.ndarray, movers: bool) -> None:
        """Depth of the static scene or of the movers seen by an orthographic view."""
        target.use()
        target.clear(depth=1.0)
        self._shadow_faces(matrix, movers)

    def draw_lamp_shadows(self, target: moderngl.Framebuffer, movers: bool, near: np.ndarray | None = None) -> None:
        """The six faces of every lamp; with spheres f64 [m, 4] in `near`, only lamps that reach one of them."""
        target.use()
        target.clear(depth=1.0)
        tile = target.width // 6
        for row, (lamp, views) in enumerate(zip(self.world.lamps, self.lamp_views, strict=True)):
            if near is not None:
                gap = np.linalg.norm(near[:, :3] - np.asarray(lamp.position), axis=1) - near[:, 3]
                if gap.min() > lamp.reach:
                    continue
            for face in range(6):
                target.viewport = (face * tile, row * tile, tile, tile)
                self._shadow_faces(views[face], movers)
        target.viewport = (0, 0, target.width, target.height)

    def _shadow_faces(self, matrix: np.ndarray, movers: bool) -> None:
        self.ctx.enable_only(moderngl.DEPTH_TEST)
        for masked in (False, True):
            first, count = self.ranges[2 * masked + movers]
            if count:
                program = self.programs.shadow[masked]
                assign(program, light_matrix=matrix, first_face=first)
                self._bind_surfaces(masked)
                self.vaos[program].render(vertices=3 * count, first=3 * first)

    # --- frames ---

    def _bind_surfaces(self, wanted: bool = True) -> None:
        if wanted:
            self.faces.bind_to_storage_buffer(1)
            self.materials.bind_to_storage_buffer(2)
            self.textures.array.use(0)

    def bind(self) -> None:
        """Binds everything that the shading programs read."""
        self._bind_inputs()
        self.volume.use(7)

    def _bind_inputs(self) -> None:
        self.vertices.bind_to_storage_buffer(0)
        self._bind_surfaces()
        self.lamps.bind_to_storage_buffer(3)
        self.velocities.bind_to_storage_buffer(9)
        self.lightmaps.use(1)
        self.sun_map.use(2)
        self.lamp_map.use(3)
        self.sky.use(6)
        self.near_map.use(11)

    def draw_faces(self, program: moderngl.Program, masked: bool, camera: dict[str, object]) -> None:
        """Draws the opaque or the masked faces, movers included, with the camera's uniforms."""
        first = self.ranges[2 * masked][0]
        count = self.ranges[2 * masked][1] + self.ranges[2 * masked + 1][1]
        if count:
            assign(program, first_face=first, **camera)
            self._bind_surfaces(masked)
            self.vaos[program].render(vertices=3 * count, first=3 * first)

    def mover_tables(self, times: np.ndarray) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """For each time the movers' table rows and bounding spheres (None without movers)."""
        if self.movers is None:
            return [None] * len(times)
        return list(zip(*self.movers.tables(times), strict=True))

    def place_movers(
        self, table: tuple[np.ndarray, np.ndarray], maps: dict[str, moderngl.Framebuffer]
    ) -> dict[str, np.ndarray]:
        """Writes the movers' vertices for one time and draws their shadows into the maps "sun", "lamps" and "floor";
        returns the lookups' uniforms."""
        rows, spheres = table
        count = int(self.movers.starts[-1])
        self.mover_rows.write(rows)
        self.vertices.bind_to_storage_buffer(0)
        self.velocities.bind_to_storage_buffer(9)
        for binding, buffer in ((10, self.rest), (11, self.owner), (12, self.mover_rows)):
            buffer.bind_to_storage_buffer(binding)
        assign(self.programs.skin, count=count, first_mover_vertex=self.static_vertices)
        self.programs.skin.run(-(-count // 64), 1, 1)
        self.ctx.memory_barrier()
        if self.world.lamps:
            self.draw_lamp_shadows(maps["lamps"], movers=True, near=spheres)
        low, high = (spheres[:, :3] - spheres[:, 3:]).min(axis=0), (spheres[:, :3] + spheres[:, 3:]).max(axis=0)
        corners = box_corners(low, high)
        below = SunView.of(UPWARDS, corners, corners)
        self.draw_shadow(maps["floor"], below.matrix, movers=True)
        uniforms = {"mover_floor_matrix": TO_UNIT @ below.matrix, "mover_sun_matrix": NOWHERE}
        if self.world.sun:
            view = SunView.of(self.axes, corners, np.concatenate([corners, self.corners]))
            self.draw_shadow(maps["sun"], view.matrix, movers=True)
            uniforms["mover_sun_matrix"] = TO_UNIT @ view.matrix
        return uniforms

    def sky_lod(self, focal: float) -> float:
        """The panorama's mip level whose texels are as large as a pixel of a camera of `focal` px."""
        texels = self.sky.height / np.pi / focal
        return float(max(0.0, np.log2(max(texels, 1e-6))))

    def release(self) -> None:
        """Frees the device memory of this scene (shared textures stay with the renderer)."""
        if self._owned:
            self.baker.give_back(self.volume)
        with self.ctx:
            for resource in reversed(self._owned):
                resource.release()
        self._owned.clear()
