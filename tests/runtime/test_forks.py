"""A child forked while another thread works goes on, or says in one line why it cannot; it never waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from deployrec.runtime import Bundle

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SCRIPT = """
import os, signal, sys, threading, time
from deployrec.errors import ConfigError
from deployrec.runtime import Recommender

recommender = Recommender.load(sys.argv[1], threads=int(sys.argv[2]))
history = [f"i{1 + n % 30}" for n in range(300)]
stopped = threading.Event()

def work(user):
    while not stopped.is_set():
        recommender.forget(user)
        recommender.encode_history(user, history)

threads = [threading.Thread(target=work, args=(user,)) for user in ("one", "two")]
for thread in threads:
    thread.start()
for attempt in range(10):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # what waits for ever is killed
        try:
            records = [recommender.user(user) for user in ("one", "two")]
            whole = all(record is None or record.num_events == len(history) for record in records)
            recommender.observe("mine", "i3")
            print("served" if whole and recommender.recommend("mine") else "torn", flush=True)
        except ConfigError as error:
            print(error, flush=True)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        print("stuck", flush=True)
stopped.set()
for thread in threads:
    thread.join()
recommender.observe("parent", "i3")
print("parent", len(recommender.recommend("parent")))
"""


def lines(bundle: Bundle, threads: int) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, str(bundle.path), str(threads)]
    return subprocess.run(command, stdout=-1, text=True, check=True, timeout=300).stdout.splitlines()


def test_a_child_goes_on_from_whole_records(twin_bundle: Callable[..., Bundle]) -> None:
    assert lines(twin_bundle(), threads=1) == ["served"] * 10 + ["parent 10"]


def test_a_child_without_the_backends_threads_says_so(twin_bundle: Callable[..., Bundle]) -> None:
    *said, parent = lines(twin_bundle(), threads=2)
    assert len(said) == 10
    assert set(said) == {said[0]}
    assert said[0].startswith("expected the process that loaded the bundle; got a child forked from it")
    assert parent == "parent 10"
