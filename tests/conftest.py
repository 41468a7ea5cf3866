"""What all tests share: property tests take the same examples every time."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lyra", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip
settings.load_profile("lyra")
