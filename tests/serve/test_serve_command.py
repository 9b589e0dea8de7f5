"""The command line of the server, and what it listens to."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from trellis2.serve.options import add_server_options, is_loopback, make_settings

REPO = Path(__file__).resolve().parents[2]


def parse(*argv):
    parser = argparse.ArgumentParser()
    add_server_options(parser, port=8000, data="data")
    return parser.parse_args(argv)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected
    assert is_loopback(parse().host)


def test_hosts_are_open_only_when_asked_for(caplog):
    assert "*" not in make_settings(parse()).hosts and not caplog.records
    assert make_settings(parse("--host", "0.0.0.0")).hosts == ("*",)
    assert "anyone who reaches" in caplog.text
    named = make_settings(parse("--host", "0.0.0.0", "--public-host", "studio.local")).hosts
    assert "studio.local" in named and "*" not in named


def test_a_short_token_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("short")
    with pytest.raises(ValueError, match="at least 16 characters"):
        make_settings(parse("--token-file", str(path)))
    path.write_text("long enough to be a token\n")
    assert make_settings(parse("--token-file", str(path))).token == "long enough to be a token"


@pytest.mark.slow
def test_the_server_starts_answers_and_ends_with_its_workers(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "trellis2.serve", "--port", str(port), "--data", str(tmp_path), "--devices", "cpu"]
    process = subprocess.Popen(command, cwd=REPO, stderr=subprocess.PIPE, text=True, env={**os.environ})
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                    if b'"idle"' in answer.read():
                        break
            except OSError:
                pass
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=60)
    assert re.search(r"worker-0 on cpu is ready", log), log[-2000:]
