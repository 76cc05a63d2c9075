"""The profile of the fuzz tests: the same inputs each time, and nothing written into the checkout."""

import os
import tempfile

from hypothesis import HealthCheck, configuration, settings

# Tables of Unicode that hypothesis computes once would otherwise lie in .hypothesis of the current folder.
configuration.set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), "sae_utils-hypothesis"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
COMMON = {"deadline": None, "database": None, "suppress_health_check": [*SLOW, HealthCheck.function_scoped_fixture]}
settings.register_profile("same", derandomize=True, **COMMON)
settings.register_profile("deep", derandomize=False, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
