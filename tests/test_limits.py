"""A budget is never overdrawn, is given back after errors, and keeps nobody waiting for ever."""

from __future__ import annotations

import threading
import time

import pytest

from vit_inspect.limits import Budget


def test_the_sum_of_all_parts_is_within_the_budget() -> None:
    budget, lock = Budget(10), threading.Lock()
    taken, largest, done = 0, 0, []

    def work(cost: int) -> None:
        nonlocal taken, largest
        for _ in range(20):
            with budget.part(cost):
                with lock:
                    taken += cost
                    largest = max(largest, taken)
                time.sleep(0.0005)
                with lock:
                    taken -= cost
        done.append(cost)

    threads = [
        threading.Thread(target=work, args=(cost,), daemon=True) for cost in (1, 3, 4, 6, 7, 10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 6
    # More than one at once, or it would be a lock.
    assert largest == 10


def test_a_large_part_gets_its_turn_among_many_small_ones() -> None:
    budget, order = Budget(10), []
    first = budget.part(1)
    first.__enter__()

    def take(cost: int) -> None:
        with budget.part(cost):
            order.append(cost)

    threads = []
    for cost in (10, 2, 3):
        threads.append(threading.Thread(target=take, args=(cost,), daemon=True))
        threads[-1].start()
        # Until it waits.
        threads[-1].join(0.05)
    # There is room for the small ones, but they came later.
    assert order == []
    first.__exit__(None, None, None)
    for thread in threads:
        thread.join(30)
    assert order[0] == 10
    assert sorted(order) == [2, 3, 10]


def test_a_part_comes_back_after_an_error() -> None:
    budget = Budget(10)
    with pytest.raises(KeyError), budget.part(10):
        raise KeyError
    with budget.part(10):
        pass


def test_more_than_the_budget_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="11 of a budget of 10"), Budget(10).part(11):
        pass
