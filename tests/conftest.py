"""What all tests share: property tests take the same examples every time, tiny networks one thread."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "lyra", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip
settings.load_profile("lyra")


@pytest.fixture(scope="module")
def one_thread():
    """Networks this small are slower on several threads."""
    import torch  # slow, and not needed by all tests

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
