"""`lua/lease.lua` on the real server. The tests give it the time, so they need not wait."""

import random
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ratelimit.leases import KEYS, LEASE

CAP = 500
LEASE_MS = 3000


@dataclass
class Process:
    """A process as `leases.SlotLease` is one: it reports its share, or more while that drains."""

    name: str
    wants: int = 0
    critical: int = 0
    share: int = 0
    in_use: int = 0
    refreshed: int = 0

    @property
    def has(self) -> int:
        return max(self.share, self.in_use)

    def run(self) -> None:
        """Requests end; new ones start within the share."""
        self.in_use = min(self.share, self.wants)


@dataclass
class Fleet:
    """Processes that share slots, with a clock of their own and the server's, which may differ."""

    client: redis.Redis
    cap: int = CAP
    now: int = 1_700_000_000_000
    ahead: int = 0
    processes: dict[str, Process] = field(default_factory=dict)
    recovering_ms: int = 0
    alive: int = 0

    def start(self, name: str, wants: int = 0, critical: int = 0) -> Process:
        process = self.processes[name] = Process(name, wants, critical, refreshed=self.now)
        return process

    def refresh(self, process: Process) -> None:
        numbers = [process.has, process.wants, process.critical, self.cap, LEASE_MS]
        answer = LEASE.run(self.client, KEYS, [process.name, *numbers, self.now + self.ahead])
        process.share, self.alive, self.recovering_ms = answer
        process.refreshed = self.now

    def refresh_all(self) -> None:
        for process in list(self.processes.values()):
            self.refresh(process)

    def settle(self, seconds: int = 8) -> None:
        """Refreshes each second while requests end, until there is nothing left to hand over."""
        for _ in range(seconds):
            self.now += 1000
            for process in self.processes.values():
                process.run()
            self.refresh_all()

    @property
    def held(self) -> int:
        return sum(process.has for process in self.processes.values())

    @property
    def due(self) -> int:
        """What could be handed out: all critical demand, other demand up to nine tenths."""
        critical = sum(process.critical for process in self.processes.values())
        wants = sum(process.wants for process in self.processes.values())
        return min(self.cap, critical + min(wants - critical, self.cap - self.cap // 10))


@pytest.fixture
def fleet(redis_client: redis.Redis) -> Fleet:
    return Fleet(redis_client)


def shares(fleet: Fleet) -> list[int]:
    return [process.share for process in fleet.processes.values()]


def test_two_who_want_all_get_half_of_nine_tenths_each(fleet: Fleet) -> None:
    fleet.start("a", wants=500)
    fleet.start("b", wants=500)
    fleet.settle()
    assert shares(fleet) == [225, 225]


def test_who_wants_little_gets_it_and_the_others_share_the_rest(fleet: Fleet) -> None:
    for name, wants in (("a", 10), ("b", 500), ("c", 500), ("d", 0)):
        fleet.start(name, wants)
    fleet.settle()
    assert shares(fleet) == [10, 220, 220, 0]


def test_the_reserve_is_for_critical_requests(fleet: Fleet) -> None:
    fleet.start("a", wants=500)
    fleet.start("b", wants=30, critical=30)
    fleet.settle()
    assert shares(fleet) == [450, 30]
    fleet.processes["b"].wants = fleet.processes["b"].critical = 500
    fleet.settle()
    assert shares(fleet) == [250, 250]


def test_a_cap_of_one_is_not_all_reserve(fleet: Fleet) -> None:
    fleet.cap = 1
    fleet.start("a", wants=5)
    fleet.settle()
    assert shares(fleet) == [1]


def test_a_holder_gives_up_what_others_want_before_they_get_it(fleet: Fleet) -> None:
    holder = fleet.start("a", wants=450)
    fleet.settle()
    newcomer = fleet.start("b", wants=450)
    fleet.refresh(newcomer)
    assert (holder.share, newcomer.share) == (450, 50)
    holder.in_use = 450
    fleet.refresh(holder)
    fleet.refresh(newcomer)
    assert (holder.share, newcomer.share) == (225, 50)
    holder.run()
    fleet.refresh(holder)
    fleet.refresh(newcomer)
    assert (holder.share, newcomer.share) == (225, 225)


def test_the_slots_of_a_killed_process_are_back_in_three_seconds(fleet: Fleet) -> None:
    fleet.start("a", wants=450)
    fleet.settle()
    other = fleet.start("b", wants=450)
    del fleet.processes["a"]
    for _ in range(2):
        fleet.now += 999
        fleet.refresh(other)
    assert other.share == 50
    fleet.now += 1002
    fleet.refresh(other)
    assert (other.share, fleet.alive) == (450, 1)


def test_a_process_that_stops_gives_its_slots_back_at_once(fleet: Fleet) -> None:
    leaver, other = fleet.start("a", wants=450), fleet.start("b", wants=450)
    fleet.settle()
    leaver.wants, leaver.share, leaver.in_use = -1, 0, 0
    fleet.refresh(leaver)
    fleet.refresh(other)
    assert (other.share, fleet.alive) == (450, 1)


def test_after_a_flush_everybody_keeps_what_it_holds_for_three_seconds(fleet: Fleet) -> None:
    fleet.start("a", wants=300)
    fleet.start("b", wants=100)
    fleet.settle()
    fleet.client.flushdb()
    greedy = fleet.start("c", wants=500)
    fleet.refresh(greedy)
    assert (greedy.share, fleet.recovering_ms) == (0, LEASE_MS)
    fleet.refresh_all()
    assert shares(fleet) == [300, 100, 0]
    fleet.now += LEASE_MS - 1
    fleet.refresh_all()
    assert shares(fleet) == [300, 100, 0]
    fleet.now += 1
    fleet.settle()
    assert shares(fleet) == [175, 100, 175]


@pytest.mark.parametrize("jump_ms", [-3_600_000, -1_001, 3_600_000])
def test_after_a_jump_of_the_servers_clock_nobody_grows_for_three_seconds(
    fleet: Fleet, jump_ms: int
) -> None:
    holder = fleet.start("a", wants=450)
    fleet.settle()
    fleet.ahead = jump_ms
    greedy = fleet.start("b", wants=500)
    fleet.refresh(greedy)
    fleet.refresh(holder)
    assert (greedy.share, holder.share) == (0, 450)
    fleet.settle()
    assert shares(fleet) == [225, 225]


@pytest.mark.parametrize("back_ms", [1, 500, 1_000])
def test_a_small_step_back_of_the_servers_clock_ends_no_lease_and_stops_nobodys_growth(
    fleet: Fleet, back_ms: int
) -> None:
    holder = fleet.start("a", wants=450)
    fleet.settle()
    fleet.ahead = -back_ms
    greedy = fleet.start("b", wants=500)
    fleet.refresh(greedy)
    assert (greedy.share, fleet.recovering_ms, fleet.alive) == (50, 0, 2)
    fleet.refresh(holder)
    assert holder.share == 225


def test_small_steps_back_do_not_add_up_unseen(fleet: Fleet) -> None:
    holder = fleet.start("a", wants=450)
    fleet.settle()
    recovering = []
    for _ in range(3):
        fleet.ahead -= 400
        fleet.refresh(holder)
        recovering.append(fleet.recovering_ms)
    assert recovering == [0, 0, LEASE_MS]


def test_a_fleet_of_24_gets_95_percent_of_its_changing_demand(fleet: Fleet) -> None:
    """Refreshes each second, and every 20 ms while demand exceeds the share."""
    dice = random.Random(7)
    for number in range(24):
        fleet.start(str(number), wants=dice.randrange(60))
    fleet.settle()
    handed_out = due = 0
    for step in range(1000):
        fleet.now += 20
        if step % 25 == 0:
            process = fleet.processes[str(dice.randrange(24))]
            process.wants = dice.randrange(60)
            process.critical = dice.randrange(process.wants // 2 + 1)
        for process in fleet.processes.values():
            process.run()
            overdue = fleet.now - process.refreshed >= 1000
            if overdue or process.wants > process.share or process.has > process.wants:
                fleet.refresh(process)
        assert fleet.held <= CAP
        handed_out += min(fleet.held, fleet.due)
        due += fleet.due
    assert handed_out >= 0.95 * due


class Chaos(RuleBasedStateMachine):
    """Random processes, demands, crashes, missed refreshes, outages, flushes and clock jumps."""

    client: redis.Redis

    @initialize(cap=st.sampled_from([1, 7, 50, 500]))
    def begin(self, cap: int) -> None:
        self.client.flushdb()
        self.fleet = Fleet(self.client, cap)
        self.born = 0

    @precondition(lambda self: len(self.fleet.processes) < 24)
    @rule(wants=st.integers(0, 600))
    def start(self, wants: int) -> None:
        self.born += 1
        self.fleet.refresh(self.fleet.start(str(self.born), wants))

    @precondition(lambda self: self.fleet.processes)
    @rule(data=st.data(), wants=st.integers(0, 600), part=st.floats(0, 1))
    def demand(self, data: st.DataObject, wants: int, part: float) -> None:
        process = data.draw(st.sampled_from(list(self.fleet.processes.values())))
        process.wants, process.critical = wants, int(wants * part)
        self.fleet.refresh(process)

    @precondition(lambda self: self.fleet.processes)
    @rule(data=st.data())
    def requests_end(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(list(self.fleet.processes.values()))).run()

    @rule(
        passes_ms=st.integers(1, 1500),
        missed=st.integers(0, 3),
        order=st.randoms(use_true_random=False),
    )
    def time_passes(self, passes_ms: int, missed: int, order: random.Random) -> None:
        """Everybody refreshes but a few, and nobody misses its lease."""
        fleet = self.fleet
        fleet.now += passes_ms
        processes = list(fleet.processes.values())
        order.shuffle(processes)
        for position, process in enumerate(processes):
            if position >= missed or fleet.now - process.refreshed > 1400:
                fleet.refresh(process)

    @precondition(lambda self: self.fleet.processes)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        del self.fleet.processes[data.draw(st.sampled_from(list(self.fleet.processes)))]

    @rule()
    def flush(self) -> None:
        self.client.flushdb()
        # The leases of those who are not on record must not run out unseen.
        for process in self.fleet.processes.values():
            process.refreshed = min(process.refreshed, self.fleet.now)

    @rule(lasts_ms=st.integers(3001, 60_000))
    def outage(self, lasts_ms: int) -> None:
        """Nobody reaches Redis; everybody goes on with its share."""
        self.fleet.now += lasts_ms
        self.fleet.refresh_all()

    @rule(jump_ms=st.sampled_from([-3_600_000, -10_000, -1_000, -1, 10_000, 3_600_000]))
    def clock_jump(self, jump_ms: int) -> None:
        self.fleet.ahead += jump_ms
        self.fleet.refresh_all()

    @rule()
    def quiet(self) -> None:
        """Once all is calm, what is wanted is handed out."""
        self.fleet.settle()
        assert 0.95 * self.fleet.due <= sum(p.share for p in self.fleet.processes.values())

    @invariant()
    def never_more_than_the_cap(self) -> None:
        if hasattr(self, "fleet"):
            assert self.fleet.held <= self.fleet.cap


def test_whatever_happens_the_cap_holds_and_demand_is_met(redis_client: redis.Redis) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    Chaos.client = redis_client
    run_state_machine_as_test(
        Chaos,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
