"""Reading items on threads and on forked processes: results, failures, retries."""

from __future__ import annotations

import multiprocessing
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trellis2.datasets import reading
from trellis2.datasets.reading import read_parallel

needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork processes"
)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(reading, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def few_items_fork(monkeypatch):
    monkeypatch.setattr(reading, "_MIN_ITEMS_FOR_PROCESSES", 2)


MODES = [(1, False), (4, False), pytest.param(2, True, marks=needs_fork)]


@pytest.mark.parametrize(("workers", "processes"), MODES)
def test_every_item_is_a_result_or_a_failure(workers, processes, few_items_fork):
    scale = 10  # a closure: forked workers inherit it, nothing is pickled on the way in

    def read(i):
        if i == 3:
            raise ValueError("item 3 is damaged")
        if i == 5:
            raise FileNotFoundError("item 5 is gone")
        return {"value": np.full(4, scale * i, np.int16)}

    results, failures = read_parallel(read, range(12), workers, desc="items", processes=processes)
    assert sorted(results) == [i for i in range(12) if i not in (3, 5)]
    assert all((value["value"] == scale * i).all() for i, value in results.items())
    assert failures == {3: "ValueError: item 3 is damaged", 5: "FileNotFoundError: item 5 is gone"}


@needs_fork
def test_processes_are_others_and_have_one_thread(few_items_fork):
    results, failures = read_parallel(lambda i: (os.getpid(), torch.get_num_threads()), range(20), 2, processes=True)
    assert not failures
    assert os.getpid() not in {pid for pid, _ in results.values()}
    assert {threads for _, threads in results.values()} == {1}
    assert reading._forked_read is None


@needs_fork
def test_a_failing_pool_leaves_nothing_behind(few_items_fork):
    with pytest.raises(Exception, match="pickle"):  # a result that cannot travel
        read_parallel(lambda i: lambda: i, range(4), 2, processes=True)
    assert reading._forked_read is None
    assert read_parallel(lambda i: i, range(4), 2, processes=True)[0] == {i: i for i in range(4)}


@needs_fork
@pytest.mark.timeout(60)
def test_workers_end_although_their_parent_stays_on_sigterm(few_items_fork):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))  # as the trainer does
    try:
        for _ in range(5):
            assert read_parallel(lambda i: i, range(4), 2, processes=True)[0] == {i: i for i in range(4)}
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_few_items_stay_in_this_process():
    results, _ = read_parallel(lambda i: os.getpid(), range(20), 2, processes=True)
    assert set(results.values()) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 3])
def test_passing_system_errors_are_tried_again(workers):
    calls: dict[int, int] = {}

    def read(i):
        calls[i] = calls.get(i, 0) + 1
        if calls[i] <= i:  # item i fails i times
            raise OSError("stale handle")
        return i

    results, failures = read_parallel(read, range(5), workers)
    assert results == {0: 0, 1: 1, 2: 2}
    assert failures == {3: "OSError: stale handle", 4: "OSError: stale handle"}
    assert calls == {0: 1, 1: 2, 2: 3, 3: 3, 4: 3}


def test_no_items():
    assert read_parallel(lambda i: i, [], 4) == ({}, {})
