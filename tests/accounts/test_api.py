"""The API's view skips work whose outcome is known, and only that."""

import pytest

ME = "/api/v1/me/"


def bearer(key) -> dict[str, str]:
    return {"authorization": f"Bearer {key[1]}"}


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/*", "text/*,*/*"])
def test_whoever_takes_json_gets_it(client, key, accept):
    headers = bearer(key) | ({"accept": accept} if accept else {})
    answer = client.get(ME, headers=headers)
    assert (answer.status_code, answer["content-type"]) == (200, "application/json")


def test_who_takes_no_json_is_told_so(client, key):
    answer = client.get(ME, headers=bearer(key) | {"accept": "text/html"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_a_method_that_a_call_does_not_have_is_told_which_it_has(client, key):
    answer = client.delete(ME, headers=bearer(key))
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in answer["allow"]
