"""Settings shared by every test: hypothesis without wall-clock deadlines, because two shared cores are noisy."""

from hypothesis import HealthCheck, settings

settings.register_profile("mattebridge", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mattebridge")
