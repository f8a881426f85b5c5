"""The trail for people to read. Nobody changes it here; every page costs the same at any size."""

from audit.admin import chains, events, letters

__all__ = ["chains", "events", "letters"]
