"""Jobs of the offline default that run beside each other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from geoseg_tools.classical.both import both
from geoseg_tools.classical.lazy import lazy
from geoseg_tools.classical.tables import prepare


def test_two_jobs_run_at_the_same_time() -> None:
    meet = threading.Barrier(2)
    assert sorted(both(partial(meet.wait, 10), partial(meet.wait, 10))) == [0, 1]


def test_on_one_thread_they_run_in_order() -> None:
    ran: list[tuple[str, int]] = []

    def job(name: str) -> str:
        ran.append((name, threading.get_ident()))
        return name

    assert both(partial(job, "here"), partial(job, "beside"), threads=1) == ("here", "beside")
    assert ran == [("here", threading.get_ident()), ("beside", threading.get_ident())]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fails", [0, 1])
def test_the_error_of_either_is_raised(threads: int, fails: int) -> None:
    jobs = [int, int]
    jobs[fails] = partial(int, "no number")
    with pytest.raises(ValueError, match="no number"):
        both(*jobs, threads=threads)


def test_the_tables_are_made_once() -> None:
    thread = prepare()
    thread.join(10)
    assert not thread.is_alive()
    assert prepare() is thread


class _Pair:
    def __init__(self, meet: threading.Barrier) -> None:
        self.meet = meet

    @lazy
    def met(self) -> int:
        """Waits until the other one is being computed too."""
        return self.meet.wait(10)


def test_a_lazy_property_of_one_object_does_not_wait_for_that_of_another() -> None:
    meet = threading.Barrier(2)
    pairs = [_Pair(meet), _Pair(meet)]
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda pair: pair.met, pairs)) == [0, 1]
    assert [pair.met for pair in pairs] == [vars(pair)["met"] for pair in pairs]
