"""The token bucket and its line: what is granted, to whom first, and when they are told it will be."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenantconfig.stores.budget import PATIENCE_SECONDS, RECOVERY_SECONDS, SLOWEST, Budget, Place

RATE, PORTION = 3.0, 10
EVERYTHING = 10**6
NEARLY = 1e-6

thorough = settings(max_examples=200, deadline=None, derandomize=True, database=None)

keys = st.sampled_from(["a", "b", "c", "d", "e"])
needs = st.integers(1, 60)
seconds = st.floats(0, 30, allow_nan=False)


def new(rate: float = RATE, portion: int | None = PORTION) -> Budget[str]:
    return Budget(rate, portion, 0.0)


def empty(rate: float = RATE, portion: int | None = PORTION) -> Budget[str]:
    """A budget of which nothing is left at 0.0."""
    budget = new(rate, portion)
    budget.charge(round(max(rate, portion or 1)), 0.0)
    return budget


def tokens(budget: Budget[str], now: float) -> float:
    """What is in the bucket."""
    place = budget.wait("probe", "probe", EVERYTHING, now)
    budget.leave("probe")
    return place.ahead + EVERYTHING - place.seconds * budget.rate


def tenant_of(key: str) -> str:
    """Keys are `<tenant>` or `<tenant>/<resource>`."""
    return key.partition("/")[0]


@dataclass
class Line:
    """People who wait, take what they are given, and come back until they have all."""

    budget: Budget[str]
    now: float = 0.0
    needs: dict[str, int] = field(default_factory=dict)
    granted: list[tuple[float, str, int]] = field(default_factory=list)
    done: dict[str, float] = field(default_factory=dict)

    def join(self, key: str, need: int) -> Place:
        self.needs[key] = need
        return self.budget.wait(key, tenant_of(key), need, self.now)

    def serve(self, until: float = float("inf")) -> None:
        """Until nobody waits, or for a while."""
        while (left := self.budget.next_turn(self.now)) is not None and self.now + left <= until:
            self.now += left
            for key in self.budget.turns(self.now):
                self._take(key)
        self.now = max(self.now, min(until, 1e9))

    def _take(self, key: str) -> None:
        granted = self.budget.take(key, self.needs[key], self.now)
        self.granted.append((self.now, key, granted))
        self.needs[key] -= granted
        if self.needs[key]:
            self.budget.wait(key, tenant_of(key), self.needs[key], self.now)
        else:
            self.done[key] = self.now
            self.budget.leave(key)

    def total(self, *keys: str) -> int:
        return sum(granted for _, key, granted in self.granted if not keys or key in keys)


# Without a line


def test_a_portion_may_be_taken_at_once() -> None:
    assert new().take("a", 4, 0.0) == 4
    assert new().take("a", 25, 0.0) == PORTION


def test_what_is_not_there_is_not_given() -> None:
    budget = empty()
    assert budget.take("a", 1, 0.3) == 0
    assert budget.take("a", 1, 0.34) == 1


def test_a_bucket_holds_a_second_s_worth_or_a_portion() -> None:
    assert tokens(new(3.0, 10), 100.0) == pytest.approx(10)
    assert tokens(new(25.0, 10), 100.0) == pytest.approx(25)
    assert tokens(new(0.2, None), 100.0) == pytest.approx(1)


def test_without_a_portion_a_turn_is_as_large_as_it_must_be_and_leaves_a_debt() -> None:
    budget = new(40.0, None)
    assert budget.take("a", 100, 0.0) == 100
    assert tokens(budget, 0.0) == pytest.approx(-60)
    assert budget.take("b", 1, 1.5) == 0
    assert budget.take("b", 1, 1.6) == 1


def test_time_that_goes_backwards_gives_nothing() -> None:
    budget = empty()
    assert budget.take("a", 3, 1.0) == 3
    assert budget.take("a", 1, 0.5) == 0
    assert budget.take("a", 1, 1.0) == 0


def test_what_was_not_used_is_given_back_but_never_more_than_the_bucket_holds() -> None:
    budget = empty()
    budget.refund(4)
    assert tokens(budget, 0.0) == pytest.approx(4)
    budget.refund(100)
    assert tokens(budget, 0.0) == pytest.approx(PORTION)


def test_what_nobody_could_foresee_is_paid_by_those_who_come_after() -> None:
    budget = empty(40.0, None)
    budget.charge(400, 0.0)
    assert budget.wait("a", "a", 1, 0.0).seconds == pytest.approx(401 / 40)


# The line


def test_nobody_takes_past_the_line() -> None:
    budget = empty()
    budget.wait("a", "a", 5, 0.0)
    assert budget.take("b", 1, 1.0) == 0
    assert budget.take("a", 1, 1.0) == 0, "nor does who stands in it, before its turn"


def test_a_turn_comes_when_its_tokens_are_there_and_only_once() -> None:
    budget = empty()
    budget.wait("a", "a", 5, 0.0)
    assert budget.next_turn(0.0) == pytest.approx(5 / RATE)
    assert list(budget.turns(1.6)) == []
    assert list(budget.turns(1.67)) == ["a"]
    assert list(budget.turns(60.0)) == []
    assert budget.next_turn(60.0) is None
    assert (budget.turn("a"), budget.turn("b")) == (5, 0)
    assert budget.take("a", 5, 60.0) == 5
    assert budget.turn("a") == 0


def test_what_a_turn_does_not_need_any_more_stays() -> None:
    budget = empty()
    budget.wait("a", "a", 5, 0.0)
    assert list(budget.turns(5 / RATE)) == ["a"]
    assert budget.take("a", 2, 5 / RATE) == 2
    assert tokens(budget, 5 / RATE) == pytest.approx(3)


def test_a_turn_is_used_for_no_more_than_was_set_aside() -> None:
    budget = empty()
    budget.wait("a", "a", 5, 0.0)
    assert list(budget.turns(5 / RATE)) == ["a"]
    assert budget.take("a", 8, 100.0) == 5


def test_who_leaves_gives_its_tokens_back_and_the_next_has_them() -> None:
    budget = empty()
    budget.wait("a", "a", 5, 0.0)
    budget.wait("b", "b", 5, 0.0)
    assert list(budget.turns(5 / RATE)) == ["a"]
    budget.leave("a")
    assert list(budget.turns(5 / RATE)) == ["b"]


def test_who_waits_again_instead_of_using_its_turn_gives_it_back() -> None:
    budget = empty()
    budget.wait("a", "a", 5, 0.0)
    assert list(budget.turns(5 / RATE)) == ["a"]
    budget.wait("a", "a", 5, 5 / RATE)
    assert tokens(budget, 5 / RATE) == pytest.approx(5)


def test_who_left_the_line_is_not_waited_for() -> None:
    budget = empty()
    budget.wait("a", "a", 1000, 0.0)
    budget.wait("b", "b", 1000, 0.0)
    budget.leave("a")
    assert budget.wait("b", "b", 1000, 0.0).ahead == 0
    assert budget.waiting == 1000
    budget.leave("b")
    assert (budget.waiting, budget.next_turn(0.0)) == (0, None)


def test_leaving_what_one_never_joined_changes_nothing() -> None:
    budget = empty()
    budget.leave("a")
    assert tokens(budget, 0.0) == pytest.approx(0)


# Whose turn is first


@pytest.mark.parametrize("resources", [1, 10, 1000])
def test_a_tenant_of_one_write_passes_one_of_a_thousand_in_one_resource_or_in_many(resources: int) -> None:
    line = Line(empty())
    for number in range(resources):
        line.join(f"large/{number}", 1000 // resources)
    line.serve(100.0)
    place = line.join("small", 1)
    assert place.ahead == 0
    line.serve()
    assert line.done["small"] - 100.0 <= 1 / RATE + NEARLY


def test_a_tenant_s_own_resources_are_served_in_the_order_of_their_coming() -> None:
    line = Line(empty())
    names = [f"acme/{number}" for number in (3, 1, 2)]
    for name in names:
        line.join(name, 7)
    line.serve()
    assert list(line.done) == names


def test_of_two_who_need_as_much_the_first_is_first() -> None:
    line = Line(empty())
    for name in "cab":
        line.join(name, 7)
    line.serve()
    assert list(line.done) == ["c", "a", "b"]


@pytest.mark.parametrize("names", [["a/1", "a/2", "a/3"], ["a", "b", "c"]])
def test_what_takes_several_turns_is_finished_before_the_next_is_begun(names: list[str]) -> None:
    line = Line(empty())
    for name in names:
        line.join(name, 25)
    line.serve()
    order = [key for _, key, _ in line.granted]
    assert order == sorted(order)
    assert [line.done[name] for name in names] == pytest.approx([25 / RATE, 50 / RATE, 75 / RATE])


def test_who_has_waited_long_enough_is_passed_by_nobody() -> None:
    line = Line(empty())
    line.join("patient", 100)
    passing, newcomers = 0, 0
    while "patient" not in line.done:
        newcomers += 1
        passing += line.join(f"newcomer-{newcomers}", PORTION).ahead == 0
        line.serve(line.now + PORTION / RATE)
    assert line.done["patient"] <= PATIENCE_SECONDS * 100 + 100 / RATE * 2
    assert passing > 0


def test_who_waits_again_keeps_its_due_time() -> None:
    budget = empty()
    budget.wait("a", "a", 10, 0.0)
    budget.wait("b", "b", 10, 1.0)
    assert budget.wait("a", "a", 10, 3000.0).ahead == 0
    assert budget.wait("a", "a", 9, 3000.0).ahead == 0
    assert budget.wait("b", "b", 10, 3000.0).ahead == 9


def test_who_comes_to_need_more_waits_as_long_as_if_it_had_said_so() -> None:
    budget = empty()
    budget.wait("sly", "sly", 1, 0.0)
    budget.wait("a", "a", 500, 1.0)
    assert budget.wait("sly", "sly", 1000, 2.0).ahead == 500
    assert budget.wait("small", "small", 1, 3.0).ahead == 0


def test_who_comes_to_need_more_is_never_behind_who_comes_then() -> None:
    budget = empty()
    budget.wait("a", "a", 1000, 0.0)
    budget.wait("a", "a", 1001, PATIENCE_SECONDS * 1000)
    assert budget.wait("late", "late", 1002, PATIENCE_SECONDS * 1000).ahead == 1001


def test_who_never_comes_to_an_end_does_not_stay_first() -> None:
    budget, now, joined = empty(), 0.0, PATIENCE_SECONDS * 20
    budget.wait("endless", "endless", 20, now)
    while not budget.turn("patient"):
        now += budget.next_turn(now) or 0.0
        if now > joined:
            budget.wait("patient", "patient", 20, now)
        for key in budget.turns(now):
            if key == "endless":
                assert budget.take(key, 20, now) == PORTION
                budget.wait(key, key, 20, now)
        assert now < joined + 100, "it has to pass what has waited as long"


def test_who_has_left_begins_anew() -> None:
    budget = empty()
    budget.wait("a", "a", 10, 0.0)
    budget.leave("a")
    budget.wait("b", "b", 10, 1.0)
    assert budget.wait("a", "a", 10, 2.0).ahead == 10


# What it looks like to who waits


@thorough
@given(
    before=st.lists(st.tuples(keys, needs, seconds), max_size=8),
    need=needs,
    rate=st.sampled_from([0.4, 3.0, 10.0, 25.0]),
)
@example(before=[("a", 11, 0.0), ("a", 10, 0.0)], need=11, rate=0.4)
def test_what_is_said_of_a_place_is_what_happens_when_nobody_else_joins(
    before: list[tuple[str, int, float]], need: int, rate: float
) -> None:
    line = Line(empty(rate))
    for number, (tenant, others, later) in enumerate(before):
        line.serve(line.now + later)
        line.join(f"{tenant}/{number}", others)
    said, asked, granted = line.join("me", need), line.now, line.total()
    line.serve()
    last = max(nth for nth, (_, key, _) in enumerate(line.granted) if key == "me")
    ahead = sum(count for _, key, count in line.granted[:last] if key != "me") - granted
    assert line.done["me"] - asked == pytest.approx(said.seconds, abs=1e-3)
    assert ahead == said.ahead


# In any order


@dataclass
class Ledger:
    """What was granted when, less what was given back."""

    size: float
    rate: float
    booked: list[tuple[float, float]] = field(default_factory=list)
    granted: Counter[str] = field(default_factory=Counter)  # and not yet used or given back

    def grant(self, key: str, count: int, now: float) -> None:
        self.booked.append((now, count))
        self.granted[key] += count
        total = 0.0
        for since, each in reversed(self.booked):
            total += each
            assert total <= self.size + self.rate * (now - since) + NEARLY, f"{total} since {since}, now {now}"

    def give_back(self, key: str, count: int, now: float) -> None:
        self.booked.append((now, -count))
        self.granted[key] -= count


operations = st.one_of(
    st.tuples(st.just("time"), seconds),
    st.tuples(st.just("turns")),
    st.tuples(st.just("take"), keys, needs),
    st.tuples(st.just("wait"), keys, needs),
    st.tuples(st.just("leave"), keys),
    st.tuples(st.just("refund"), keys),
    st.tuples(st.just("charge"), st.integers(1, 20)),
    st.tuples(st.just("slow")),
)


@dataclass
class Course:
    """Operations on a budget, and their ledger."""

    budget: Budget[str]
    ledger: Ledger
    now: float = 0.0

    def time(self, later: float) -> None:
        self.now += later

    def turns(self) -> None:
        for key in self.budget.turns(self.now):
            assert 0 < self.budget.turn(key) <= PORTION
            self.ledger.grant(key, self.budget.turn(key), self.now)

    def take(self, key: str, need: int) -> None:
        turn = self.budget.turn(key)
        taken = self.budget.take(key, need, self.now)
        assert taken <= min(need, PORTION)
        if turn:
            assert taken == min(turn, need)
            self.ledger.give_back(key, turn - taken, self.now)
        elif taken:
            self.ledger.grant(key, taken, self.now)

    def wait(self, key: str, need: int) -> None:
        self.ledger.give_back(key, self.budget.turn(key), self.now)
        self.budget.wait(key, key, need, self.now)
        assert self.budget.turn(key) == 0

    def leave(self, key: str) -> None:
        self.ledger.give_back(key, self.budget.turn(key), self.now)
        self.budget.leave(key)

    def refund(self, key: str) -> None:
        """Of what was taken and not merely set aside."""
        unused = self.ledger.granted[key] - self.budget.turn(key)
        self.ledger.give_back(key, unused, self.now)
        self.budget.refund(unused)

    def charge(self, requests: int) -> None:
        self.ledger.booked.append((self.now, requests))
        self.budget.charge(requests, self.now)

    def slow(self) -> None:
        self.budget.slow(self.now)


@thorough
@given(st.lists(operations, max_size=60), st.sampled_from([0.4, 3.0, 25.0]))
def test_no_more_is_granted_in_any_time_than_a_bucket_and_what_flows_in(
    course: list[tuple[str, ...]], rate: float
) -> None:
    of = Course(new(rate), Ledger(max(rate, PORTION), rate))
    for name, *arguments in course:
        getattr(of, name)(*arguments)


@thorough
@given(st.lists(operations.filter(lambda each: each[0] not in {"slow", "time"}), max_size=60))
def test_no_token_is_lost_or_made(course: list[tuple[str, ...]]) -> None:
    of = Course(new(), Ledger(PORTION, RATE))
    for name, *arguments in course:
        getattr(of, name)(*arguments)
    assert tokens(of.budget, 0.0) == pytest.approx(PORTION - sum(count for _, count in of.ledger.booked))


@thorough
@given(st.lists(st.tuples(keys, needs, seconds), min_size=1, max_size=12), st.sampled_from([0.4, 3.0, 10.0, 25.0]))
def test_everyone_gets_all_it_waits_for_and_no_time_is_lost(
    arrivals: list[tuple[str, int, float]], rate: float
) -> None:
    line = Line(empty(rate))
    busy_until = 0.0
    wanted = {}
    for number, (tenant, need, later) in enumerate(arrivals):
        line.serve(line.now + later)
        wanted[f"{tenant}/{number}"] = need
        line.join(f"{tenant}/{number}", need)
        full = max(rate, PORTION) / rate  # what nobody took in the meantime, at most
        busy_until = max(busy_until, line.now - full) + need / rate
    line.serve()
    assert {key: line.total(key) for key in wanted} == wanted
    assert max(line.done.values()) <= busy_until + max(rate, PORTION) / rate + NEARLY
    assert max(count for _, _, count in line.granted) <= max(rate, PORTION)


@thorough
@given(st.lists(st.tuples(keys, needs), min_size=1, max_size=12))
def test_all_together_take_what_the_rate_says_within_a_portion(waiting: list[tuple[str, int]]) -> None:
    line = Line(new())
    for number, (tenant, need) in enumerate(waiting):
        line.join(f"{tenant}/{number}", need)
    line.serve()
    total = sum(need for _, need in waiting)
    assert max(line.done.values()) == pytest.approx(max(0, total - PORTION) / RATE, abs=PORTION / RATE)
    assert max(line.done.values()) <= max(0, total - PORTION) / RATE + NEARLY


# A store that asks for patience


def test_patience_halves_the_rate_and_empties_the_bucket() -> None:
    budget = new()
    budget.slow(0.0)
    assert budget.rate == RATE / 2
    assert tokens(budget, 0.0) == pytest.approx(0)
    budget.wait("a", "a", 3, 0.0)
    assert budget.next_turn(0.0) == pytest.approx(2.0)


def test_patience_makes_the_turns_as_much_smaller() -> None:
    budget = new()
    budget.slow(0.0)
    budget.wait("a", "a", 100, 0.0)
    assert list(budget.turns(budget.next_turn(0.0) or 0.0)) == ["a"]
    assert budget.turn("a") == PORTION // 2


def test_the_smallest_turn_is_enough_for_a_value_and_its_tag() -> None:
    budget = new()
    for _ in range(100):
        budget.slow(0.0)
    assert budget.rate == RATE * SLOWEST
    line = Line(budget)
    line.join("a", 100)
    line.serve(11.0)
    assert [count for _, _, count in line.granted] == [2]


def test_a_debt_is_not_forgiven() -> None:
    budget = empty()
    budget.charge(30, 0.0)
    budget.slow(0.0)
    assert tokens(budget, 0.0) == pytest.approx(-30)


def test_the_rate_recovers_in_a_minute_from_the_slowest() -> None:
    budget = new()
    for _ in range(100):
        budget.slow(0.0)
    rates = []
    for second in range(int(RECOVERY_SECONDS) + 1):
        budget.next_turn(float(second))
        budget.wait("a", "a", 1, float(second))
        budget.leave("a")
        rates.append(budget.rate)
    assert rates[0] == RATE * SLOWEST
    assert rates == sorted(rates)
    assert rates[-1] == RATE
    assert rates[30] == pytest.approx(RATE * (SLOWEST + 0.5))


def test_nobody_s_turn_is_lost_by_patience() -> None:
    line = Line(new())
    for name in "abc":
        line.join(name, 20)
    line.serve(5.0)
    line.budget.slow(line.now)
    line.serve()
    assert line.total() == 60
    assert list(line.done) == ["a", "b", "c"]


# Another configuration


def test_another_rate_keeps_the_line() -> None:
    line = Line(empty())
    for name in "abc":
        line.join(name, 20)
    line.serve(5.0)
    line.budget.configure(30.0, 30, line.now)
    line.serve()
    assert list(line.done) == ["a", "b", "c"]
    assert max(line.done.values()) <= 5.0 + 60 / 30
    assert max(count for _, _, count in line.granted) > PORTION


def test_another_rate_changes_what_is_said_of_a_place() -> None:
    budget = empty()
    assert budget.wait("a", "a", 30, 0.0).seconds == pytest.approx(10.0)
    budget.configure(6.0, PORTION, 0.0)
    assert budget.wait("a", "a", 30, 0.0).seconds == pytest.approx(5.0)


def test_the_same_configuration_again_does_not_end_the_patience() -> None:
    budget = new()
    budget.slow(0.0)
    budget.configure(RATE, PORTION, 0.0)
    assert budget.rate == RATE / 2


def test_another_rate_holds_from_then_on_and_not_before() -> None:
    budget = empty()
    budget.configure(30.0, 30, 1.0)
    assert tokens(budget, 1.0) == pytest.approx(RATE)


def test_a_smaller_bucket_holds_no_more_than_it_can() -> None:
    budget = new(25.0, 25)
    budget.configure(RATE, PORTION, 0.0)
    assert tokens(budget, 0.0) == pytest.approx(PORTION)
