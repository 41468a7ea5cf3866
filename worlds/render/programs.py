"""Every shader program of a renderer, compiled once and shared by its scenes."""

import moderngl

from worlds.render.context import compute_program, draw_program
from worlds.render.shadow import LAMP_FACE_SCALE, LAMP_NEAR, MAX_LAMPS

_SPREAD = {1: 1, 2: 3, 3: 4, 4: 7}  # steps that visit all n x n sub-samples in a scattered order


class Programs:
    """`draw[samples, masked]` and `shadow[masked]` rasterise; `skin` and the pair of `shading` compute."""

    def __init__(self, ctx: moderngl.Context, samples: int) -> None:
        self.light_defines = {
            "LAMP_NEAR": LAMP_NEAR,
            "LAMP_ROWS": f"{MAX_LAMPS}.0",
            "LAMP_FACE_SCALE": LAMP_FACE_SCALE,
        }
        self.draw = {
            (count, bool(masked)): draw_program(
                ctx, "visibility.vert", "visibility.frag", SAMPLES=count, SPREAD_STEP=_SPREAD[count], MASKED=masked
            )
            for count in {samples, 1}
            for masked in (None, 1)
        }
        self.shadow = {bool(m): draw_program(ctx, "shadow.vert", "shadow.frag", MASKED=m) for m in (None, 1)}
        self.ctx, self.samples, self._shading = ctx, samples, {}
        self.skin = compute_program(ctx, "skin.comp")

    def shading(self, movers: bool) -> tuple[moderngl.ComputeShader, moderngl.ComputeShader]:
        """The programs that shade frames and that meter them, with or without movers' shadows (made when asked for:
        the CPU driver runs both sides of a branch)."""
        if movers not in self._shading:
            defines = self.light_defines | {"MOVERS": int(movers)}
            step, most = (self.samples if self.samples % 2 else 1), (1 if self.samples == 1 else 4)
            self._shading[movers] = (
                compute_program(
                    self.ctx, "shade.comp", SAMPLES=self.samples, CENTRE_STEP=step, MAX_SHADES=most, **defines
                ),
                compute_program(self.ctx, "shade.comp", SAMPLES=1, CENTRE_STEP=1, MAX_SHADES=1, METER=1, **defines),
            )
        return self._shading[movers]
