"""One budget of threads for all FAISS calls: never more, first come first served, nothing left behind."""

import subprocess
import sys
import threading
import time

import faiss
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import ConfigError
from embedft.index.approximate import faiss_threads, set_threads, threads


@pytest.fixture(autouse=True)
def own_budget():
    before = threads()
    yield
    set_threads(before)


@given(st.integers(1, 6), st.integers(0, 9))
def test_a_lone_call_gets_what_it_wants_up_to_the_budget(budget, wanted):
    set_threads(budget)
    with faiss_threads(wanted) as got:
        assert got == max(1, min(wanted, budget)) == faiss.omp_get_max_threads()


def test_the_number_of_threads_is_as_before_after_the_block():
    before = faiss.omp_get_max_threads()
    set_threads(before + 3)
    with pytest.raises(ZeroDivisionError), faiss_threads(before + 3):
        raise ZeroDivisionError
    assert faiss.omp_get_max_threads() == before
    with faiss_threads(before + 3) as got:
        assert got == before + 3


def test_a_block_inside_a_block_of_the_same_thread_takes_nothing():
    set_threads(1)
    with faiss_threads(1), faiss_threads(5) as inner:
        assert inner == 1
    with faiss_threads(1) as again:
        assert again == 1


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.lists(st.integers(1, 5), min_size=2, max_size=8))
def test_threads_together_never_use_more_than_the_budget(budget, wanted):
    set_threads(budget)
    lock, used, most = threading.Lock(), 0, 0

    def call(want):
        nonlocal used, most
        for _ in range(5):
            with faiss_threads(want) as got:
                with lock:
                    used += got
                    most = max(most, used)
                time.sleep(0)
                with lock:
                    used -= got

    callers = [threading.Thread(target=call, args=(want,)) for want in wanted]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert used == 0
    assert most <= budget


def test_one_who_asks_again_at_once_waits_behind_one_who_waits():
    set_threads(1)
    order, waiting = [], threading.Event()

    def other():
        waiting.set()
        with faiss_threads(1):
            order.append("other")

    caller = threading.Thread(target=other)
    with faiss_threads(1):
        caller.start()
        waiting.wait()
        time.sleep(0.05)  # until it stands in the queue
    with faiss_threads(1):
        order.append("again")
    caller.join()
    assert order == ["other", "again"]


def test_a_larger_budget_wakes_those_who_wait():
    set_threads(1)
    entered = threading.Event()

    def other():
        with faiss_threads(1):
            entered.set()

    caller = threading.Thread(target=other)
    with faiss_threads(1):
        caller.start()
        set_threads(2)
        assert entered.wait(10)
    caller.join()


def test_a_budget_below_one_is_refused():
    with pytest.raises(ConfigError, match="number of threads is 0"):
        set_threads(0)


@pytest.mark.parametrize(("stated", "expected"), [("3", 3), ("5,2", 5), ("nonsense", None), ("", None)])
def test_the_first_budget_is_that_of_the_environment(stated, expected):
    code = "import os; from embedft.index.approximate import threads; print(threads(), len(os.sched_getaffinity(0)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"OMP_NUM_THREADS": stated, "PATH": ""},
    )  # fmt: skip
    found, processors = map(int, result.stdout.split())
    assert found == (expected or processors)
