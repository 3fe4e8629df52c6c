from __future__ import annotations

from hypothesis import HealthCheck, settings

# No test fails because a machine is busy.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("untimed")
