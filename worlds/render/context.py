"""The OpenGL context and its shader programs: one standalone EGL context, on a GPU or on Mesa's CPU driver."""

import re
from pathlib import Path

import moderngl
import numpy as np

from worlds.errors import WorldsError

SHADERS = Path(__file__).parent / "shaders"


def open_context(device: str = "auto") -> moderngl.Context:
    """A context of OpenGL 4.3 or newer. `device` "auto" and "egl" take EGL's default device (a GPU before the CPU),
    "egl:1" its second device. Raises WorldsError when there is no driver."""
    name, _, index = device.partition(":")
    if name not in ("auto", "egl") or not (index == "" or index.isdigit()):
        raise WorldsError(f'the device must be "auto", "egl" or "egl:N", not "{device}"')
    try:
        return moderngl.create_context(standalone=True, backend="egl", require=430, device_index=int(index or 0))
    except Exception as error:
        raise WorldsError(
            f"no OpenGL 4.3 context could be made through EGL ({error}): install libegl1 and libgl1-mesa-dri for the "
            "CPU, or the GPU's driver with libegl1 (a container needs its graphics capability)"
        ) from error


def is_software(ctx: moderngl.Context) -> bool:
    """True where the CPU draws (Mesa llvmpipe or softpipe)."""
    return any(name in ctx.info["GL_RENDERER"].lower() for name in ("llvmpipe", "softpipe", "swrast"))


def source(name: str, **defines: object) -> str:
    """A shader's text with its includes pasted and `defines` after the version line (None leaves one out)."""
    text = re.sub(r'#include "(.+?)"', lambda m: source(m.group(1)), (SHADERS / name).read_text())
    lines = "".join(f"#define {key} {value}\n" for key, value in defines.items() if value is not None)
    return text.replace("#version 430\n", f"#version 430\n{lines}", 1) if lines else text


def draw_program(ctx: moderngl.Context, vertex: str, fragment: str, **defines: object) -> moderngl.Program:
    return ctx.program(vertex_shader=source(vertex), fragment_shader=source(fragment, **defines))


def compute_program(ctx: moderngl.Context, name: str, **defines: object) -> moderngl.ComputeShader:
    return ctx.compute_shader(source(name, **defines))


def assign(program: moderngl.Program | moderngl.ComputeShader, **values: object) -> None:
    """Sets uniforms; names that the compiler found unused are passed over. Matrices are numpy [n, n] (row-major)."""
    for name, value in values.items():
        uniform = program.get(name, None)
        if uniform is None:
            continue
        if isinstance(value, np.ndarray) and value.ndim == 2:
            uniform.write(np.ascontiguousarray(value.T, dtype=np.float32).tobytes())
        elif isinstance(value, np.ndarray):
            uniform.value = tuple(value.tolist())
        else:
            uniform.value = value
