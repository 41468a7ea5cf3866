"""Exposure: the gain that gives a clip a chosen mean luma after the tone curve."""

import numpy as np

LUMA = np.asarray([0.2126, 0.7152, 0.0722])


def tone(linear: np.ndarray) -> np.ndarray:
    """Scene light to sRGB-coded [0, 1]: Narkowicz' fit of the ACES film curve, as in shade.comp."""
    curved = np.clip((linear * (2.51 * linear + 0.03)) / (linear * (2.43 * linear + 0.59) + 0.14), 0, 1)
    return np.where(curved <= 0.0031308, curved * 12.92, 1.055 * np.maximum(curved, 1e-6) ** (1 / 2.4) - 0.055)


def solve_exposure(linear: np.ndarray, mean_luma: float) -> float:
    """The gain for linear samples f32 [n, 3] whose mean sRGB luma becomes `mean_luma`, within 2^-10 .. 2^10."""
    low, high = -10.0, 10.0
    for _ in range(16):
        middle = (low + high) / 2
        dark = (tone(linear * np.float32(2**middle)) @ LUMA).mean() < mean_luma
        low, high = (middle, high) if dark else (low, middle)
    return float(2 ** ((low + high) / 2))
