"""The queue on disk."""

from __future__ import annotations

import threading

import pytest

from trellis2.serve.store import MAX_ATTEMPTS, JobStore, QueueFull


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path, max_queued=5)
    yield store
    store.close()


def test_jobs_are_taken_in_order(store):
    ids = [store.add("generate", {"n": n}, {"image.png": b"x"}).id for n in range(3)]
    assert [store.position(i) for i in ids] == [0, 1, 2]
    taken = [store.take() for _ in range(3)]
    assert [job.id for job in taken] == ids and [job.params["n"] for job in taken] == [0, 1, 2]
    assert all(job.state == "running" for job in taken) and store.take() is None
    assert store.position(ids[0]) is None


def test_inputs_are_in_the_folder(store):
    job = store.add("generate", {}, {"image_0.png": b"abc"})
    assert (store.path(job.id) / "image_0.png").read_bytes() == b"abc"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "/etc/x"])
def test_names_with_paths_are_refused(store, name):
    with pytest.raises(ValueError, match="plain names"):
        store.add("generate", {}, {name: b"x"})
    assert list((store.folder / "jobs").iterdir()) == []


def test_full_queue_refuses_and_leaves_nothing(store):
    for _ in range(5):
        store.add("generate", {}, {})
    with pytest.raises(QueueFull):
        store.add("generate", {}, {"a.png": b"x"})
    assert len(list((store.folder / "jobs").iterdir())) == 5


def test_cancel_before_and_during_and_after(store):
    waiting, running, done = [store.add("generate", {}, {}).id for _ in range(3)]
    assert store.cancel(waiting).state == "cancelled"
    assert store.take().id == running
    job = store.cancel(running)
    assert job.state == "running" and job.cancel
    store.finish(running, "cancelled")
    store.take()
    store.finish(done, "done")
    assert store.cancel(done).state == "done"
    assert store.counts() == {"queued": 0, "running": 0, "done": 1, "failed": 0, "cancelled": 2}


def test_restart_queues_running_jobs_again_in_their_old_place(tmp_path):
    first = JobStore(tmp_path)
    a, b = first.add("generate", {}, {}).id, first.add("generate", {}, {}).id
    first.take()
    first.close()
    second = JobStore(tmp_path)
    assert second.recover() == 1
    assert second.position(a) == 0 and second.position(b) == 1
    second.close()


def test_a_job_that_kills_workers_fails_in_the_end(store):
    job_id = store.add("generate", {}, {}).id
    for attempt in range(MAX_ATTEMPTS):
        assert store.take().attempts == attempt + 1
        store.give_back(job_id, "it died")
    job = store.get(job_id)
    assert job.state == "failed" and job.error == "it died"


def test_cancelled_job_is_not_started_again_when_its_worker_dies(store):
    job_id = store.add("generate", {}, {}).id
    store.take()
    store.cancel(job_id)
    store.give_back(job_id, "it died")
    assert store.get(job_id).state == "cancelled"


def test_old_jobs_go_with_their_folders_and_others_stay(store):
    old, new = store.add("generate", {}, {"a.png": b"x"}).id, store.add("generate", {}, {"a.png": b"x"}).id
    store.take()
    store.finish(old, "done")
    assert store.remove_finished(older_than=3600) == 0
    assert store.remove_finished(older_than=-1) == 1
    with pytest.raises(KeyError):
        store.get(old)
    assert [p.name for p in (store.folder / "jobs").iterdir()] == [new]


def test_owners_see_their_own_jobs_newest_first(store):
    mine = [store.add("generate", {}, {}, owner="me").id for _ in range(2)]
    store.add("generate", {}, {}, owner="you")
    assert [job.id for job in store.of_owner("me")] == mine[::-1]


def test_every_job_is_taken_exactly_once_by_many_threads(tmp_path):
    store = JobStore(tmp_path)
    ids = {store.add("generate", {}, {}).id for _ in range(60)}
    taken, lock = [], threading.Lock()

    def work():
        while (job := store.take()) is not None:
            with lock:
                taken.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 60 and set(taken) == ids
    store.close()


def test_unknown_states_and_limits_are_refused(store, tmp_path):
    with pytest.raises(ValueError, match="max_queued"):
        JobStore(tmp_path, max_queued=0)
    job_id = store.add("generate", {}, {}).id
    with pytest.raises(ValueError, match="state must be one of"):
        store.finish(job_id, "running")
