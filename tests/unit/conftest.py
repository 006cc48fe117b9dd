"""Property tests judge behaviour, not speed: the machine that runs them may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=50)
settings.load_profile("unit")
