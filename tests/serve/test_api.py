"""The HTTP interface, with worker processes that run a fake."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest


def send(client, png, options=None, kind="generate", **files):
    body = {"options": json.dumps(options or {})}
    return client.post(f"/v1/{kind}", files=[("images", ("x.png", png)), *files.items()], data=body)


def test_a_job_runs_and_its_file_is_served(serve, png, wait_for):
    client, _, _ = serve()
    answer = send(client, png, {"steps": 3})
    assert answer.status_code == 202 and answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    job = wait_for(client, answer.json()["id"])
    assert job["state"] == "done" and (job["step"], job["total"], job["stage"]) == (3, 3, "counting")
    result = client.get(job["files"]["result.txt"])
    assert json.loads(result.content) == {"kind": "generate", "device": "cpu", "steps": 3}
    again = client.post(f"/v1/jobs/{job['id']}/export", data={"options": "{}"})
    assert again.status_code == 202 and wait_for(client, again.json()["id"])["state"] == "done"


def test_events_follow_a_job_to_its_end(serve, png):
    client, _, _ = serve()
    job_id = send(client, png, {"steps": 4, "pause": 0.4}).json()["id"]
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        seen = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    assert seen[-1]["state"] == "done" and len({event["step"] for event in seen}) >= 3


def test_fifty_requests_at_once_lose_nothing(serve, png, wait_for):
    client, store, _ = serve(devices=("cpu", "cpu"))
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda n: send(client, png, {"steps": 1 + n % 3}), range(50)))
    assert [a.status_code for a in answers] == [202] * 50
    ids = [a.json()["id"] for a in answers]
    assert len(set(ids)) == 50
    for n, job_id in enumerate(ids):
        job = wait_for(client, job_id)
        assert job["state"] == "done" and job["total"] == 1 + n % 3
    assert store.counts()["done"] == 50


def test_cancelled_jobs_stop_and_the_next_one_runs(serve, png, wait_for):
    client, _, _ = serve()
    long = send(client, png, {"steps": 1000, "pause": 0.05}).json()["id"]
    waiting, last = (send(client, png).json()["id"] for _ in range(2))
    wait_for(client, long, lambda job: job["step"] > 1)
    assert client.get(f"/v1/jobs/{last}").json()["position"] == 1
    assert client.delete(f"/v1/jobs/{waiting}").json()["state"] == "cancelled"
    client.delete(f"/v1/jobs/{long}")
    assert wait_for(client, long)["state"] == "cancelled"
    assert wait_for(client, last)["state"] == "done"


def test_a_job_that_does_not_listen_is_ended_with_its_process(serve, png, wait_for):
    client, _, _ = serve(pool_options={"grace": 0.5})
    deaf = send(client, png, {"deaf": True}).json()["id"]
    wait_for(client, deaf, lambda job: job["stage"] == "counting")
    client.delete(f"/v1/jobs/{deaf}")
    assert wait_for(client, deaf)["state"] == "cancelled"
    assert wait_for(client, send(client, png).json()["id"])["state"] == "done"


def test_time_limit(serve, png, wait_for):
    client, _, _ = serve(pool_options={"time_limit": 1.0})
    job = wait_for(client, send(client, png, {"deaf": True}).json()["id"])
    assert job["state"] == "failed" and "longer than 1 seconds" in job["error"]


def test_failures_are_told_in_one_line(serve, png, wait_for):
    client, _, _ = serve()
    job = wait_for(client, send(client, png, {"fail": True}).json()["id"])
    assert job["state"] == "failed" and job["error"] == "the picture shows nothing" and job["files"] == {}


def test_a_worker_that_dies_is_replaced_and_its_job_tried_again(serve, png, wait_for):
    client, store, _ = serve()
    job = wait_for(client, send(client, png, {"die": True}).json()["id"])
    assert job["state"] == "done" and store.get(job["id"]).attempts == 2


def test_restart_resumes_the_queue(serve, png, wait_for, tmp_path):
    client, _, _ = serve(folder=tmp_path / "same")
    running = send(client, png, {"steps": 20, "pause": 0.1}).json()["id"]
    waiting = send(client, png).json()["id"]
    wait_for(client, running, lambda job: job["state"] == "running")
    serve.stop(client)
    again, _, _ = serve(folder=tmp_path / "same")
    assert wait_for(again, running)["state"] == "done" and wait_for(again, waiting)["state"] == "done"


def test_full_queue_says_when_to_come_back(serve, png):
    client, _, _ = serve(max_queued=1)
    answers = [send(client, png, {"steps": 50, "pause": 0.05}) for _ in range(4)]
    refused = [a for a in answers if a.status_code == 503]
    assert refused and refused[0].headers["retry-after"] == "30"


@pytest.mark.parametrize(
    ("options", "message"),
    [("[]", "JSON object"), ("{", "options"), ('{"colour": 1}', "unknown option 'colour'"), ("[" * 5000, "options")],
)
def test_bad_options_are_refused(serve, png, options, message):
    client, store, _ = serve()
    answer = client.post("/v1/generate", files=[("images", ("x.png", png))], data={"options": options})
    assert answer.status_code == 422 and message in answer.json()["error"]
    assert sum(store.counts().values()) == 0


def test_hostile_uploads_are_refused(serve, png):
    client, store, _ = serve(max_body=200_000)
    assert send(client, b"PK\x03\x04 not a picture").status_code == 422
    assert send(client, b"").status_code == 422
    large = client.post("/v1/generate", files=[("images", ("x.png", png + bytes(300_000)))])
    assert large.status_code == 413 and "200000 bytes" in large.json()["error"]

    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="x.png"\r\n\r\n'
        for _ in range(100):
            yield bytes(10_000)

    streamed = client.post(
        "/v1/generate", content=endless(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert streamed.status_code == 413
    many = client.post("/v1/generate", files=[("images", ("x.png", png))] * 9)
    assert many.status_code == 422 and "1 to 8" in many.json()["error"]
    tricky = client.post("/v1/generate", files=[("images", ("../../etc/passwd", png))])
    assert tricky.status_code == 202
    assert sorted(p.name for p in store.path(tricky.json()["id"]).iterdir())[0] == "image_0.png"
    assert client.post("/v1/texture", files=[("images", ("x", png)), ("mesh", ("x.glb", b"MZ"))]).status_code == 422


@pytest.mark.parametrize("path", ["/v1/jobs/nothing", "/v1/jobs/..%2f..%2fjobs.sqlite", "/v1/jobs/nothing/events"])
def test_unknown_jobs(serve, path):
    client, _, _ = serve()
    assert client.get(path).status_code == 404


def test_only_listed_files_are_served(serve, png, wait_for):
    client, _, _ = serve()
    job = wait_for(client, send(client, png).json()["id"])
    for name in ("image_0.png", "results.json", "latent.safetensors", "..%2fjobs.sqlite", "%2e%2e%2fjobs.sqlite"):
        assert client.get(f"/v1/jobs/{job['id']}/files/{name}").status_code == 404


def test_token_and_host_are_required(serve, png):
    client, _, _ = serve(token="secret")
    assert client.get("/v1/jobs/x").status_code == 401
    assert client.get("/v1/jobs/x", headers={"authorization": "Bearer secret"}).status_code == 404
    assert client.get("/healthz").status_code in (200, 503)
    assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 400


def test_health_and_metrics(serve, png, wait_for):
    client, _, _ = serve()
    wait_for(client, send(client, png).json()["id"])
    assert client.get("/healthz").json()["ok"] is True
    text = client.get("/metrics").text
    assert 'trellis2_jobs{state="done"} 1' in text and 'trellis2_job_seconds_count{kind="generate"} 1' in text


def test_a_pipeline_that_cannot_load_is_reported(serve):
    client, _, _ = serve(options={"broken": True})
    deadline = time.monotonic() + 30
    while (answer := client.get("/healthz")).status_code != 503:
        assert time.monotonic() < deadline, answer.json()
        time.sleep(0.1)
    assert answer.json()["workers"][0]["error"] == "no such pipeline: nowhere"
