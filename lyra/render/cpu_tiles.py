"""CPU rasteriser, third stage: compositing the splats of each 16 x 16 tile, and its gradient.

How it gets its speed: the state of a tile lies in one flat float32 array, plane after plane at constant distances, so
that the compiler sees that loads and stores cannot collide; indices are unsigned, loads come before selects, and the
inner loops have no branches. They then run on vectors of eight pixels. A splat is worked on only in the rows it
reaches, and there in one or two groups of eight pixels that start where the splat starts.
"""

import numpy as np

from lyra.render.cpu_project import (
    BLUE,
    DEPTH,
    GREEN,
    MX,
    MY,
    OPACITY,
    RED,
    SPLAT,
    TILE,
    X0,
    X1,
    Y0,
    Y1,
    A,
    B,
    C,
)  # fmt: skip
from lyra.render.kernel import kernel
from lyra.render.rules import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE

_LANES = 8
_BATCH = 64  # splats copied side by side before they are drawn, so that the cache misses overlap

_DRAW_PLANES = 5  # transmittance (negative once a pixel is finished), r, g, b, depth
# transmittance, last contributor (1 + its place in the tile's list, exact up to 16 million; 0 = none), weighted sum of
# what lies behind, gradients of r, g, b, depth, alpha
_UNDRAW_PLANES = 8
# where the planes start; unsigned, as signed indices carry Python's test for negative ones into the loops
_P1, _P2, _P3, _P4, _P5, _P6, _P7 = (np.uintp(k * TILE * TILE) for k in range(1, 8))

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_MIN_ALPHA, _MAX_ALPHA = np.float32(MIN_ALPHA), np.float32(MAX_ALPHA)
_MIN_TRANSMITTANCE = np.float32(MIN_TRANSMITTANCE)
_EXP_SHRINK, _EXP_LIMIT = np.float32(-1 / 8), np.float32(8)


def _exp_coefficients():
    """Degree-5 Chebyshev fit of exp on [-0.7, 0]: exp(-s) = p(-s / 8)^8 is within 1e-6 for s in [0, 5.6]."""
    nodes = np.polynomial.chebyshev.Chebyshev.interpolate(np.exp, 5, domain=[-0.7, 0])
    return tuple(np.float32(c) for c in nodes.convert(kind=np.polynomial.Polynomial).coef)


_E0, _E1, _E2, _E3, _E4, _E5 = _exp_coefficients()


@kernel
def _exp_minus(sigma):
    """exp(-sigma) without a branch. Beyond 5.6, where every alpha is below MIN_ALPHA, it is only small."""
    t = min(sigma, _EXP_LIMIT) * _EXP_SHRINK
    p = _E0 + t * (_E1 + t * (_E2 + t * (_E3 + t * (_E4 + t * _E5))))
    p *= p
    p *= p
    return p * p


@kernel
def _gather(splats, lists, start, count, batch):
    """Copy the splats of a stretch of a tile's list next to each other."""
    for k in range(count):
        source = splats[lists[start + k]]
        for field in range(SPLAT):
            batch[k, field] = source[field]


@kernel
def _span(splat, left):
    """First pixel of the row within the tile, and how many groups of eight to work on."""
    x0 = max(np.int64(splat[X0]) - left, 0)
    x1 = min(np.int64(splat[X1]) - left, TILE)
    if x1 - x0 > _LANES:
        return 0, np.uintp(TILE)
    return min(x0, TILE - _LANES), np.uintp(_LANES)


@kernel
def _alpha(sigma, opacity):
    """Opacity at a pixel before the cap, and with all rules applied; 0 where sigma is not a number."""
    raw = opacity * _exp_minus(sigma)
    alpha = min(_MAX_ALPHA, raw)
    return raw, alpha if (sigma >= _ZERO) & (alpha >= _MIN_ALPHA) else _ZERO


@kernel
def _draw(state, splat, left, top):
    """Composite one splat into the tile whose first pixel is (left, top)."""
    a, b, c, opacity = splat[A], splat[B], splat[C], splat[OPACITY]
    red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
    first, lanes = _span(splat, left)
    dx0 = np.float32(left + first) + _HALF - splat[MX]
    for row in range(max(np.int64(splat[Y0]) - top, 0), min(np.int64(splat[Y1]) - top, TILE)):
        dy = np.float32(top + row) + _HALF - splat[MY]
        bdy, cdy = b * dy, c * dy * dy
        start = np.uintp(row * TILE + first)
        for lane in range(lanes):
            i = start + lane
            t, r, g, u, d = state[i], state[i + _P1], state[i + _P2], state[i + _P3], state[i + _P4]
            dx = dx0 + np.float32(np.int32(lane))
            _, alpha = _alpha((a * dx + bdy) * dx + cdy, opacity)
            rest = t - t * alpha
            goes_on = rest > _MIN_TRANSMITTANCE
            weight = t * alpha if goes_on else _ZERO
            state[i] = rest if goes_on else -abs(t)
            state[i + _P1] = r + weight * red
            state[i + _P2] = g + weight * green
            state[i + _P3] = u + weight * blue
            state[i + _P4] = d + weight * depth


@kernel
def _alive(state):
    """Whether a pixel of the tile still lets light through."""
    highest = _ZERO
    for i in range(_P1):
        highest = max(highest, state[i])
    return highest > _ZERO


@kernel
def draw_tiles(tiles, splats, bins, image):
    """Composite the tiles numbered `tiles` into image [5, h, w]: premultiplied r, g, b, accumulated depth, alpha.

    `bins` are the number of tile columns, the tiles' lists one after another, and where each starts.
    """
    columns, lists, starts = bins
    height, width = image.shape[1], image.shape[2]
    state = np.empty(_DRAW_PLANES * TILE * TILE, np.float32)
    batch = np.empty((_BATCH, SPLAT), np.float32)
    for tile in tiles:
        left, top = (tile % columns) * TILE, (tile // columns) * TILE
        right, bottom = min(left + TILE, width), min(top + TILE, height)
        state[:] = _ZERO
        for y in range(bottom - top):
            state[y * TILE : y * TILE + right - left] = _ONE
        for start in range(starts[tile], starts[tile + 1], _BATCH):
            count = min(_BATCH, starts[tile + 1] - start)
            _gather(splats, lists, start, count, batch)
            for k in range(count):
                _draw(state, batch[k], left, top)
            if not _alive(state):
                break
        for y in range(top, bottom):
            for x in range(left, right):
                i = (y - top) * TILE + x - left
                for plane in range(4):
                    image[plane, y, x] = state[i + (plane + 1) * TILE * TILE]
                image[4, y, x] = _ONE - abs(state[i])


@kernel
def _replay(state, splat, left, top, position):
    """`_draw` without colours; notes `position` as last where the splat contributes."""
    a, b, c, opacity = splat[A], splat[B], splat[C], splat[OPACITY]
    first, lanes = _span(splat, left)
    dx0 = np.float32(left + first) + _HALF - splat[MX]
    for row in range(max(np.int64(splat[Y0]) - top, 0), min(np.int64(splat[Y1]) - top, TILE)):
        dy = np.float32(top + row) + _HALF - splat[MY]
        bdy, cdy = b * dy, c * dy * dy
        start = np.uintp(row * TILE + first)
        for lane in range(lanes):
            i = start + lane
            t, last = state[i], state[i + _P1]
            dx = dx0 + np.float32(np.int32(lane))
            _, alpha = _alpha((a * dx + bdy) * dx + cdy, opacity)
            rest = t - t * alpha
            goes_on = rest > _MIN_TRANSMITTANCE
            state[i] = rest if goes_on else -abs(t)
            state[i + _P1] = position if goes_on & (alpha > _ZERO) else last


@kernel
def _undraw(state, splat, left, top, position, out):
    """Take one splat off the tile again and write the gradients of its row into `out`."""
    a, b, c, opacity = splat[A], splat[B], splat[C], splat[OPACITY]
    red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
    first, lanes = _span(splat, left)
    dx0 = np.float32(left + first) + _HALF - splat[MX]
    m00, m10, m01, m20, m11, m02 = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
    total_r, total_g, total_b, total_d = _ZERO, _ZERO, _ZERO, _ZERO
    for row in range(max(np.int64(splat[Y0]) - top, 0), min(np.int64(splat[Y1]) - top, TILE)):
        dy = np.float32(top + row) + _HALF - splat[MY]
        bdy, cdy = b * dy, c * dy * dy
        start = np.uintp(row * TILE + first)
        s0, s1, s2 = _ZERO, _ZERO, _ZERO
        for lane in range(lanes):
            i = start + lane
            t, last, behind = state[i], state[i + _P1], state[i + _P2]
            g_red, g_green, g_blue = state[i + _P3], state[i + _P4], state[i + _P5]
            g_depth, g_alpha = state[i + _P6], state[i + _P7]
            dx = dx0 + np.float32(np.int32(lane))
            raw, alpha = _alpha((a * dx + bdy) * dx + cdy, opacity)
            alpha = alpha if position <= last else _ZERO
            inverse = _ONE / (_ONE - alpha)
            before = t * inverse
            weight = before * alpha
            value = red * g_red + green * g_green + blue * g_blue + depth * g_depth + g_alpha
            # d loss / d sigma = -alpha d loss / d alpha, and nothing where alpha is held at MAX_ALPHA
            v = alpha * (behind * inverse - before * value)
            v = v if raw <= _MAX_ALPHA else _ZERO
            state[i] = before
            state[i + _P2] = behind + weight * value
            total_r += weight * g_red
            total_g += weight * g_green
            total_b += weight * g_blue
            total_d += weight * g_depth
            s0 += v
            s1 += v * dx
            s2 += v * dx * dx
        m00 += s0
        m10 += s1
        m20 += s2
        m01 += s0 * dy
        m11 += s1 * dy
        m02 += s0 * dy * dy
    out[MX], out[MY] = -(2 * a * m10 + b * m01), -(b * m10 + 2 * c * m01)
    out[A], out[B], out[C] = m20, m11, m02
    out[OPACITY] = -m00 / opacity
    out[RED], out[GREEN], out[BLUE], out[DEPTH] = total_r, total_g, total_b, total_d


@kernel
def undraw_tiles(tiles, splats, boxes, bins, offsets, image_gradient, pair_gradients):
    """Write the gradients of every (tile, splat) pair of the tiles numbered `tiles`: replay, then walk back to front.

    The pairs of Gaussian n lie at offsets[n] + its tiles counted row by row; each row is written once, so no order
    of work can change a bit of the sum.
    """
    columns, lists, starts = bins
    height, width = image_gradient.shape[1], image_gradient.shape[2]
    state = np.empty(_UNDRAW_PLANES * TILE * TILE, np.float32)
    for tile in tiles:
        column, line = tile % columns, tile // columns
        left, top = column * TILE, line * TILE
        begin, count = starts[tile], starts[tile + 1] - starts[tile]
        state[:] = _ZERO
        for y in range(top, min(top + TILE, height)):
            for x in range(left, min(left + TILE, width)):
                i = (y - top) * TILE + x - left
                state[i] = _ONE
                for plane in range(5):
                    state[i + (plane + 3) * TILE * TILE] = image_gradient[plane, y, x]
        batch = np.empty((count, SPLAT), np.float32)
        _gather(splats, lists, begin, count, batch)
        for k in range(count):
            _replay(state, batch[k], left, top, np.float32(k + 1))
            if k % _BATCH == _BATCH - 1 and not _alive(state):
                break
        deepest = _ZERO
        for i in range(TILE * TILE):
            state[i] = abs(state[i])
            deepest = max(deepest, state[i + TILE * TILE])
        for k in range(np.int64(deepest) - 1, -1, -1):
            n = lists[begin + k]
            pair = offsets[n] + (line - boxes[n, 2]) * (boxes[n, 1] - boxes[n, 0]) + column - boxes[n, 0]
            _undraw(state, batch[k], left, top, np.float32(k + 1), pair_gradients[pair])
