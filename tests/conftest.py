"""What every test shares: how Hypothesis runs.

No deadlines, because the machines are shared; the same examples on every run of CI, because a check before a merge
that fails by chance teaches people to ignore it. ``HYPOTHESIS_PROFILE=search`` looks for new examples, for longer.
"""

from __future__ import annotations

import contextlib
import os

from hypothesis import HealthCheck, settings

# Importing dill teaches pickle's Python pickler to write code, and joblib's pickler copies that when it is imported.
with contextlib.suppress(ImportError):
    import dill

    dill.extend(False)

_SLOW_MACHINE = [HealthCheck.too_slow]

settings.register_profile("default", deadline=None, suppress_health_check=_SLOW_MACHINE)
settings.register_profile(
    "ci", deadline=None, suppress_health_check=_SLOW_MACHINE, derandomize=True, database=None, print_blob=True
)
settings.register_profile("search", deadline=None, suppress_health_check=_SLOW_MACHINE, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))
