from audit.registry import ACTIONS


def test_every_action_has_words_in_both_languages():
    for action in ACTIONS.values():
        assert action.en
        assert action.es
        assert action.en != action.es


def test_names_fit_their_column():
    assert all(len(name) <= 64 for name in ACTIONS)
