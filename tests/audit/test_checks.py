from django.core.checks import run_checks


def test_a_spool_that_cannot_be_written_is_refused_early(settings, tmp_path):
    (tmp_path / "file").touch()
    settings.AUDIT_SPOOL_DIR = tmp_path / "file" / "spool"
    (error,) = run_checks(tags=["audit"])
    assert error.id == "audit.E001"
    assert error.hint


def test_a_writable_spool_is_fine():
    assert run_checks(tags=["audit"]) == []
