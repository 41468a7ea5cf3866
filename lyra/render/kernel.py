"""The decorator of the numba kernels."""

import inspect
from collections.abc import Callable

import numba

# Everything that lets loops vectorise except "nnan" and "ninf": a Gaussian that overflows must still be recognised.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


def kernel(function: Callable) -> Callable:
    """Compile on first use, without the GIL, and keep the machine code on disk (NUMBA_CACHE_DIR moves it).

    Run-time type checkers wrap functions in Python code that cannot be compiled; they are taken off first.
    """
    function = inspect.unwrap(function)
    try:
        return numba.njit(cache=True, nogil=True, fastmath=_FASTMATH, error_model="numpy")(function)
    except RuntimeError:  # no folder is writable: compile once a process
        return numba.njit(nogil=True, fastmath=_FASTMATH, error_model="numpy")(function)
