"""What became of background tasks, counted in the totals of the fleet."""

from ratelimit.store import StoreAway
from stabilizer.background.budget import Refusal
from stabilizer.background.tally import Tally
from stabilizer.ops import exposition, totals
from stabilizer.ops.row import COLUMNS, row

RAN = ("background_runs", "pairing.tasks.sweep")
YIELDED = ("background_yields", "pairing.tasks.sweep", "pressure")


async def test_runs_and_yields_are_in_the_totals_at_once(store):
    first, second = Tally(store), Tally(store)
    first.ran("pairing.tasks.sweep")
    second.ran("pairing.tasks.sweep")
    second.yielded("pairing.tasks.sweep", Refusal.PRESSURE)
    assert await totals.read(store) == {RAN: 2, YIELDED: 1}


async def test_what_was_counted_while_redis_was_away_is_told_with_the_next(store, monkeypatch):
    tally = Tally(store)
    with monkeypatch.context() as patch:
        patch.setattr(totals, "add_now", not_asked)
        tally.ran("pairing.tasks.sweep")
        tally.ran("pairing.tasks.sweep")
    tally.yielded("pairing.tasks.sweep", Refusal.PRESSURE)
    assert await totals.read(store) == {RAN: 2, YIELDED: 1}


async def test_a_count_whose_answer_was_lost_is_not_repeated(store, monkeypatch):
    tally, add = Tally(store), totals.add_now

    def lose(*words):
        add(*words)
        raise StoreAway("lost", asked=True)

    with monkeypatch.context() as patch:
        patch.setattr(totals, "add_now", lose)
        tally.ran("pairing.tasks.sweep")
    tally.ran("pairing.tasks.sweep")
    assert await totals.read(store) == {RAN: 2}


async def test_a_count_that_redis_refuses_is_no_error(store, redis_client, caplog):
    redis_client.set(totals.TOTALS, "no hash")
    Tally(store).ran("pairing.tasks.sweep")
    assert "a count is missing" in caplog.text


def test_prometheus_and_the_dashboard_are_told():
    counts = {RAN: 4, YIELDED: 2, ("background_yields", "pairing.tasks.sweep", "slots"): 1}
    text = exposition.text(counts)
    assert 'stabilizer_background_runs_total{task="pairing.tasks.sweep"} 4\n' in text
    name = 'stabilizer_background_yields_total{task="pairing.tasks.sweep",reason='
    assert f'{name}"pressure"}} 2\n' in text
    assert f'{name}"slots"}} 1\n' in text
    cells = dict(zip(COLUMNS, row(1, counts, 2, {}), strict=True))
    assert (cells["background_runs"], cells["background_yields"]) == (2, 1.5)


def not_asked(*words):
    raise StoreAway("known away", asked=False)
