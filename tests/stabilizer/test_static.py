"""Static files, with and without `collectstatic`. A warning is an error here."""

import pytest

from stabilizer.static import StaticFilesMiddleware

STYLESHEET = "/static/stabilizer/pages.css"


pytestmark = pytest.mark.django_db  # closing a response looks at the connections


def not_found(request):
    return None


def served(middleware, request) -> bytes:
    response = middleware(request)
    content = b"".join(response)
    response.close()
    return content


def test_a_fresh_clone_serves_what_the_apps_keep_and_warns_of_nothing(settings, tmp_path, rf):
    settings.STATIC_ROOT = tmp_path / "absent"
    assert b"--ground" in served(StaticFilesMiddleware(not_found), rf.get(STYLESHEET))
    assert not settings.STATIC_ROOT.exists()


def test_what_was_gathered_is_served(settings, tmp_path, rf):
    settings.STATIC_ROOT, settings.WHITENOISE_USE_FINDERS = tmp_path, False
    (tmp_path / "gathered.css").write_text("p {}", encoding="utf-8")
    request = rf.get("/static/gathered.css")
    assert served(StaticFilesMiddleware(not_found), request) == b"p {}"


def test_another_directory_that_is_absent_is_still_warned_of(settings, tmp_path):
    settings.STATIC_ROOT, settings.WHITENOISE_ROOT = tmp_path / "absent", tmp_path / "missing"
    with pytest.warns(UserWarning, match=r"No directory at: .*missing/"):
        StaticFilesMiddleware(not_found)
