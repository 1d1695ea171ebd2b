"""For all tests: how long an example takes decides nothing."""

from hypothesis import settings

settings.register_profile("p2pai", deadline=None)
settings.load_profile("p2pai")
