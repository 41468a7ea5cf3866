"""CPU rasteriser, first stage: 3D Gaussians to 2D splats, and the gradient of that map. Scalar code in float64.

A splat is a row of 16 float32, one cache line. Equations: sigma = A dx^2 + B dx dy + C dy^2 around the mean (MX, MY).
"""

import math

import numpy as np

from lyra.render.kernel import kernel
from lyra.render.rules import BLUR, FRUSTUM_MARGIN, MAX_SIGMAS, MIN_ALPHA

MX, MY, A, B, C, OPACITY, RED, GREEN, BLUE, DEPTH = range(10)
X0, X1, Y0, Y1 = range(10, 14)  # the pixels it can reach, half open
SPLAT = 16
TILE = 16  # pixels a side: the state of a tile stays in the first-level cache
GRADIENTS = 10  # of a splat: the first ten of its row, with moments in place of MX to C (see cpu_tiles)

FX, FY, CX, CY, WIDTH, HEIGHT, NEAR, FAR = range(12, 20)  # of a camera row; 0 to 11 are the rows of w2c


@kernel
def _rotation(qw, qx, qy, qz):
    """Rotation matrix of a unit quaternion, row by row."""
    return (
        1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qw * qz), 2 * (qx * qz + qw * qy),
        2 * (qx * qy + qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qw * qx),
        2 * (qx * qz - qw * qy), 2 * (qy * qz + qw * qx), 1 - 2 * (qx * qx + qy * qy),
    )  # fmt: skip


@kernel
def _times(a, b):
    """Product of two 3x3 matrices, each nine numbers row by row."""
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = a
    b0, b1, b2, b3, b4, b5, b6, b7, b8 = b
    return (
        a0 * b0 + a1 * b3 + a2 * b6, a0 * b1 + a1 * b4 + a2 * b7, a0 * b2 + a1 * b5 + a2 * b8,
        a3 * b0 + a4 * b3 + a5 * b6, a3 * b1 + a4 * b4 + a5 * b7, a3 * b2 + a4 * b5 + a5 * b8,
        a6 * b0 + a7 * b3 + a8 * b6, a6 * b1 + a7 * b4 + a8 * b7, a6 * b2 + a7 * b5 + a8 * b8,
    )  # fmt: skip


@kernel
def _world_to_camera(camera):
    """The nine numbers of the camera's rotation."""
    return (
        camera[0], camera[1], camera[2], camera[4], camera[5], camera[6], camera[8], camera[9], camera[10],
    )  # fmt: skip


@kernel
def _position(camera, mean):
    """The mean in camera axes."""
    x, y, z = np.float64(mean[0]), np.float64(mean[1]), np.float64(mean[2])
    return (
        camera[0] * x + camera[1] * y + camera[2] * z + camera[3],
        camera[4] * x + camera[5] * y + camera[6] * z + camera[7],
        camera[8] * x + camera[9] * y + camera[10] * z + camera[11],
    )


@kernel
def _clamped(slope, focal, centre, size):
    """x / z held within the image and its margin; whether it was inside."""
    low = -centre / focal - FRUSTUM_MARGIN * size / focal
    high = (size - centre) / focal + FRUSTUM_MARGIN * size / focal
    return min(max(slope, low), high), low <= slope <= high


@kernel
def _footprint(camera, x, y, z, quat, scale):
    """The 2x3 factor P of Sigma_2d = P P^T + BLUR: Jacobian, camera rotation, Gaussian rotation, scales."""
    w, i, j, k = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    n = 1 / math.sqrt(w * w + i * i + j * j + k * k)
    turn = _times(_world_to_camera(camera), _rotation(w * n, i * n, j * n, k * n))
    s0, s1, s2 = np.float64(scale[0]), np.float64(scale[1]), np.float64(scale[2])
    tx, _ = _clamped(x / z, camera[FX], camera[CX], camera[WIDTH])
    ty, _ = _clamped(y / z, camera[FY], camera[CY], camera[HEIGHT])
    fx, fy = camera[FX] / z, camera[FY] / z
    return (
        fx * (turn[0] - tx * turn[6]) * s0, fx * (turn[1] - tx * turn[7]) * s1, fx * (turn[2] - tx * turn[8]) * s2,
        fy * (turn[3] - ty * turn[6]) * s0, fy * (turn[4] - ty * turn[7]) * s1, fy * (turn[5] - ty * turn[8]) * s2,
    )  # fmt: skip


@kernel
def _covariance(p):
    """Sigma_2d as (xx, xy, yy)."""
    p0, p1, p2, p3, p4, p5 = p
    return (
        p0 * p0 + p1 * p1 + p2 * p2 + BLUR,
        p0 * p3 + p1 * p4 + p2 * p5,
        p3 * p3 + p4 * p4 + p5 * p5 + BLUR,
    )


@kernel
def project(start, stop, inputs, camera, splats, boxes, keys, visible):
    """Write the splats of Gaussians start to stop, which tiles they touch, sort keys, and the indices of the visible.

    Returns how many are visible.

    `inputs` are means, quats, scales, opacities and colours. A key is the depth's float32 bits, which order as the
    depths do because visible depths are positive.
    """
    means, quats, scales, opacities, colors = inputs
    width, height = camera[WIDTH], camera[HEIGHT]
    count = 0
    for n in range(start, stop):
        x, y, z = _position(camera, means[n])
        opacity = np.float64(opacities[n])
        if not (z >= camera[NEAR] and z <= camera[FAR] and opacity >= MIN_ALPHA):
            continue
        xx, xy, yy = _covariance(_footprint(camera, x, y, z, quats[n], scales[n]))
        det = xx * yy - xy * xy
        if not (det > 0 and det < np.inf):
            continue
        reach = min(MAX_SIGMAS, math.sqrt(2 * math.log(np.float32(opacity / MIN_ALPHA))))
        rx, ry = reach * math.sqrt(xx), reach * math.sqrt(yy)
        mx, my = camera[FX] * x / z + camera[CX], camera[FY] * y / z + camera[CY]
        x0, x1 = max(0.0, np.ceil(mx - rx - 0.5)), min(width, np.floor(mx + rx + 0.5))
        y0, y1 = max(0.0, np.ceil(my - ry - 0.5)), min(height, np.floor(my + ry + 0.5))
        if not (x0 < x1 and y0 < y1):
            continue
        splat = splats[n]
        splat[MX], splat[MY] = mx, my
        splat[A], splat[B], splat[C] = 0.5 * yy / det, -xy / det, 0.5 * xx / det
        splat[OPACITY], splat[DEPTH] = opacity, z
        splat[RED], splat[GREEN], splat[BLUE] = colors[n, 0], colors[n, 1], colors[n, 2]
        splat[X0], splat[X1], splat[Y0], splat[Y1] = x0, x1, y0, y1
        boxes[n, 0], boxes[n, 1] = np.int64(x0) // TILE, (np.int64(x1) - 1) // TILE + 1
        boxes[n, 2], boxes[n, 3] = np.int64(y0) // TILE, (np.int64(y1) - 1) // TILE + 1
        keys[n] = splat[DEPTH : DEPTH + 1].view(np.uint32)[0]
        visible[start + count] = n
        count += 1
    return count


@kernel
def _covariance_gradient(splat, g):
    """Gradient of Sigma_2d (xx, xy, yy as a symmetric matrix) from that of (A, B, C): -Q G Q, Q the inverse."""
    a, b, c = 2 * np.float64(splat[A]), np.float64(splat[B]), 2 * np.float64(splat[C])
    ga, gb, gc = 0.5 * g[A], 0.5 * g[B], 0.5 * g[C]
    u0, u1 = a * ga + b * gb, a * gb + b * gc
    u2, u3 = b * ga + c * gb, b * gb + c * gc
    return -(u0 * a + u1 * b), -(u0 * b + u1 * c), -(u2 * b + u3 * c)


@kernel
def _quat_gradient(quat, v, out):
    """Gradient of an unnormalised quaternion from that of its rotation matrix (nine numbers)."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    n = 1 / math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * n, x * n, y * n, z * n
    v0, v1, v2, v3, v4, v5, v6, v7, v8 = v
    gw = 2 * (x * (v7 - v5) + y * (v2 - v6) + z * (v3 - v1))
    gx = 2 * (-2 * x * (v4 + v8) + y * (v1 + v3) + z * (v2 + v6) + w * (v7 - v5))
    gy = 2 * (x * (v1 + v3) - 2 * y * (v0 + v8) + z * (v5 + v7) + w * (v2 - v6))
    gz = 2 * (x * (v2 + v6) + y * (v5 + v7) - 2 * z * (v0 + v4) + w * (v3 - v1))
    along = gw * w + gx * x + gy * y + gz * z
    out[0], out[1], out[2], out[3] = (
        n * (gw - along * w),
        n * (gx - along * x),
        n * (gy - along * y),
        n * (gz - along * z),
    )


@kernel
def _shape_gradient(camera, position, quat, scale, gradient, out_quat, out_scale):
    """Gradients of quaternion and scales, written, and of the camera-space mean through Sigma_2d, returned."""
    x, y, z = position
    gxx, gxy, gyy = gradient
    p0, p1, p2, p3, p4, p5 = _footprint(camera, x, y, z, quat, scale)
    # P = J U with U = (camera rotation) (Gaussian rotation) diag(scales): gradient of P is 2 G P
    d0, d1, d2 = 2 * (gxx * p0 + gxy * p3), 2 * (gxx * p1 + gxy * p4), 2 * (gxx * p2 + gxy * p5)
    d3, d4, d5 = 2 * (gxy * p0 + gyy * p3), 2 * (gxy * p1 + gyy * p4), 2 * (gxy * p2 + gyy * p5)
    w, i, j, k = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    n = 1 / math.sqrt(w * w + i * i + j * j + k * k)
    turn = _rotation(w * n, i * n, j * n, k * n)
    view = _world_to_camera(camera)
    u = _times(view, turn)
    s0, s1, s2 = np.float64(scale[0]), np.float64(scale[1]), np.float64(scale[2])
    tx, inside_x = _clamped(x / z, camera[FX], camera[CX], camera[WIDTH])
    ty, inside_y = _clamped(y / z, camera[FY], camera[CY], camera[HEIGHT])
    fx, fy = camera[FX] / z, camera[FY] / z
    # gradient of J: entries 00 = fx, 02 = -fx tx, 11 = fy, 12 = -fy ty (each already over z)
    j00 = d0 * u[0] * s0 + d1 * u[1] * s1 + d2 * u[2] * s2
    j02 = d0 * u[6] * s0 + d1 * u[7] * s1 + d2 * u[8] * s2
    j11 = d3 * u[3] * s0 + d4 * u[4] * s1 + d5 * u[5] * s2
    j12 = d3 * u[6] * s0 + d4 * u[7] * s1 + d5 * u[8] * s2
    gx = -j02 * fx / z if inside_x else 0.0
    gy = -j12 * fy / z if inside_y else 0.0
    gz = (-j00 * fx + j02 * fx * tx - j11 * fy + j12 * fy * ty) / z - (gx * x + gy * y) / z
    # gradient of (camera rotation) (Gaussian rotation), before the scales: J^T D; then the camera is turned back
    m0, m1, m2 = fx * d0, fx * d1, fx * d2
    m3, m4, m5 = fy * d3, fy * d4, fy * d5
    m6, m7, m8 = -tx * m0 - ty * m3, -tx * m1 - ty * m4, -tx * m2 - ty * m5
    out_scale[0] = m0 * u[0] + m3 * u[3] + m6 * u[6]
    out_scale[1] = m1 * u[1] + m4 * u[4] + m7 * u[7]
    out_scale[2] = m2 * u[2] + m5 * u[5] + m8 * u[8]
    back = (view[0], view[3], view[6], view[1], view[4], view[7], view[2], view[5], view[8])
    scaled = (m0 * s0, m1 * s1, m2 * s2, m3 * s0, m4 * s1, m5 * s2, m6 * s0, m7 * s1, m8 * s2)
    _quat_gradient(quat, _times(back, scaled), out_quat)
    return gx, gy, gz


@kernel
def project_backward(indices, inputs, camera, splats, offsets, pair_gradients, outputs):
    """Sum the gradients of each visible Gaussian's (tile, splat) pairs in their fixed order and map them to 3D.

    Pairs of Gaussian n are rows offsets[n] to offsets[n + 1]; `outputs` are the gradients of `inputs`, zero before.
    """
    means, quats, scales, _, _ = inputs
    g_means, g_quats, g_scales, g_opacities, g_colors = outputs
    g = np.empty(GRADIENTS, np.float64)
    for n in indices:
        g[:] = 0
        for pair in range(offsets[n], offsets[n + 1]):
            for k in range(GRADIENTS):
                g[k] += pair_gradients[pair, k]
        x, y, z = _position(camera, means[n])
        covariance = _covariance_gradient(splats[n], g)
        gx, gy, gz = _shape_gradient(camera, (x, y, z), quats[n], scales[n], covariance, g_quats[n], g_scales[n])
        fx, fy = camera[FX] / z, camera[FY] / z
        gx += g[MX] * fx
        gy += g[MY] * fy
        gz += g[DEPTH] - (g[MX] * fx * x + g[MY] * fy * y) / z
        for k in range(3):
            g_means[n, k] = camera[k] * gx + camera[4 + k] * gy + camera[8 + k] * gz
            g_colors[n, k] = g[RED + k]
        g_opacities[n] = g[OPACITY]
