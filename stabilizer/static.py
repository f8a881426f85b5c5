"""Static files: those that `collectstatic` has gathered, if it has run, and those the apps keep."""

from pathlib import Path

from django.conf import settings
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """Whitenoise, for which STATIC_ROOT may be absent: a fresh clone serves from the apps."""

    def add_files(self, root: str | Path, prefix: str | None = None) -> None:
        if root != settings.STATIC_ROOT or Path(root).is_dir():
            super().add_files(root, prefix)  # type: ignore[no-untyped-call]
