from hypothesis import given, settings
from hypothesis import strategies as st

from audit import frames

TEXTS = st.lists(st.text(alphabet=st.characters(max_codepoint=127)), max_size=8)


def texts(data: bytes, *, final: bool) -> list[str | None]:
    return [piece.text for piece in frames.scan(data, 0, final=final)]


@settings(deadline=None, max_examples=100)
@given(TEXTS)
def test_what_was_packed_is_read_in_order(lines):
    assert texts(b"".join(map(frames.pack, lines)), final=False) == lines


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.integers(1, 30))
def test_a_record_still_being_written_is_left_for_the_next_time(lines, cut):
    whole, torn = b"".join(map(frames.pack, lines)), frames.pack("x" * 30)[:-cut]
    assert texts(whole + torn, final=False) == lines


def test_a_record_torn_by_its_writers_death_is_damage():
    data = frames.pack("first") + frames.pack("second")[:-2]
    assert texts(data, final=True) == ["first", None]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(alphabet="abc", min_size=1), min_size=3, max_size=6), st.data())
def test_a_flipped_bit_costs_one_record_and_no_other(lines, data):
    packed = [bytearray(frames.pack(line)) for line in lines]
    victim = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(packed[victim]) - 1))
    packed[victim][place] ^= 1 << data.draw(st.integers(0, 7))
    found = texts(b"".join(packed), final=True)
    assert found == [*lines[:victim], None, *lines[victim + 1 :]]


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), TEXTS)
def test_no_bytes_are_lost_sight_of(noise, lines):
    data = noise + b"".join(map(frames.pack, lines)) + noise
    pieces = list(frames.scan(data, 1000, final=True))
    ends = [1000, *(piece.end for piece in pieces)]
    assert [piece.start for piece in pieces] == ends[:-1]
    assert ends[-1] == 1000 + len(data)
