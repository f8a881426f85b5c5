from hypothesis import given
from hypothesis import strategies as st

from pairing import device_code


@given(st.integers(0, 2**63 - 1))
def test_a_device_code_names_its_tenant_and_the_digest_it_is_stored_under(tenant_id: int):
    text = device_code.mint(tenant_id)
    parsed = device_code.parse(text)
    assert parsed is not None
    assert parsed.tenant_id == tenant_id
    assert parsed.digest == device_code.digest(text)
    assert text not in parsed.digest


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_a_device_code_with_one_changed_letter_is_refused(position: int, letter: str):
    text = device_code.mint(42)
    position %= len(text)
    changed = text[:position] + letter + text[position + 1 :]
    assert changed == text or device_code.parse(changed) is None


@given(st.text())
def test_what_we_did_not_make_is_refused(text: str):
    assert device_code.parse(text) is None
    assert device_code.parse(f"dc_{text}") is None


def test_another_secret_refuses_all_codes_made_under_this_one(settings):
    text = device_code.mint(1)
    settings.KEYRING_SECRET = "another" * 10
    assert device_code.parse(text) is None


def test_no_two_device_codes_are_alike():
    assert len({device_code.mint(1) for _ in range(1000)}) == 1000
