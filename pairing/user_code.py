"""The code a person types: eight consonants, ``WDJB-MJHT`` (RFC 8628, section 6.1).

Twenty letters without vowels spell no word, and eight of them are 34.5 bits. Case, dashes and
spaces are the reader's affair.
"""

import secrets

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH = 8
_SEPARATORS = str.maketrans("", "", "- \t")


def mint() -> str:
    """A new code, as it is stored: no dash."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def normalise(text: str) -> str | None:
    """`text` as a code is stored, or None when it cannot be one: no look-up is worth its while."""
    if len(text) > 32 or not text.isascii():
        return None
    code = text.translate(_SEPARATORS).upper()
    return code if len(code) == LENGTH and all(letter in ALPHABET for letter in code) else None


def display(code: str) -> str:
    """`code` as a screen shows it."""
    return f"{code[:4]}-{code[4:]}"
