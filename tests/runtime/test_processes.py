"""How processes with sessions end, and what becomes of sessions in forked children. Each case is a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

START = """
import os, sys, threading, time
import numpy as np
from landbridge.runtime import load
from landbridge.runtime.errors import SessionClosed, SessionForked
from support.sessions import device_session, host_session, image, model_session
from support.plans import GEAR, tensor
from support.toy_vendor import HANG, toy_vendors
vendors = toy_vendors(); toys = vendors.__enter__()
session = device_session()
def hanging():
    return model_session([tensor("x", "input", "toyhost0"), tensor("y", "arena", "toyhost0")], "hang", "toyhost0")
"""

PATTERNS = {
    "closed": "session(image(2)); session.close()",
    "not closed": "session(image(2))",
    "not run": "",
    "within a with block": "with session: session(image(2)); sys.exit(0)",
    "bound and not closed": "bound = session.bind({'x': image(2)}, {'y': np.empty((2, 3), np.float32)}); bound()",
    "outputs are left": "y = session(image(2))['y']; session.close(); assert y.sum() > 0",
    "tensors on the device are left": "x = session.to_device(image(2), 'toy0')",
    "several sessions": "others = [host_session(), device_session()]; [one(image(2)) for one in others]",
    "in a cycle": "session.me = session; session(image(2)); del session",
    "idle workers": "session.run_async({'x': image(2)}).result()",
    "a stream half read": "results = session.stream({'x': image(2)} for _ in range(9)); next(results)",
    "a stream not begun": "results = session.stream([])",
    "a thread that runs on": (
        "def work():\n"
        "    try:\n"
        "        while True: session(image(2))\n"
        "    except SessionClosed: pass\n"
        "threading.Thread(target=work, daemon=True).start(); time.sleep(0.05)"
    ),
    "a thread that closes": "threading.Thread(target=session.close).start()",
}


def child(code: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin", "PYTHONFAULTHANDLER": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=timeout, check=False)


def check(result: subprocess.CompletedProcess[str]) -> None:
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_process_ends_cleanly(pattern: str) -> None:
    check(child(START + PATTERNS[pattern]))


@pytest.mark.parametrize(
    "bad", ["os.abort()", "sys.exit(3)", "print('x', file=sys.stderr)", "threading.Thread(target=lambda: 1 / 0).start()"]
)
def test_the_check_notices_a_process_that_does_not(bad: str) -> None:
    with pytest.raises(AssertionError):
        check(child("import os, sys, threading\n" + bad))


def test_a_run_that_hangs_does_not_keep_the_process_from_ending() -> None:
    code = "late = hanging().run_async({'x': image(2)}); time.sleep(0.1); print(time.time())"
    result = child(START + code)
    assert result.returncode == 0
    assert "'toy.onnx': a run does not return; what it uses is not given back" in result.stderr
    assert time.time() - float(result.stdout) < 5


def test_a_missed_deadline_does_not_keep_the_process_from_ending() -> None:
    code = (
        "from landbridge.runtime.errors import DeviceTimeout\n"
        "late = hanging()\n"
        "try: late.run({'x': image(2)}, deadline_s=0.05)\n"
        "except DeviceTimeout: print(time.time())"
    )
    result = child(START + code)
    assert result.returncode == 0
    assert time.time() - float(result.stdout) < 5


FORK = """
bound = session.bind({'x': image(2)}, {'y': np.empty((2, 3), np.float32)})
tensor_there = session.to_device(image(2), 'toy0')
session.run_async({'x': image(2)}).result()
"""

IN_CHILD = """
if os.fork() == 0:
    begun = time.monotonic()
    for call in (lambda: session(image(2)), bound, lambda: session.bind({'x': image(2)}, {}), lambda: session.run_async({}),
                 lambda: session.to_device(image(2), 'toy0'), lambda: session.stream([])):
        try: call()
        except SessionForked as error:
            assert 'was loaded before the process was forked' in str(error)
        else: os._exit(1)
    try: tensor_there.numpy()
    except SessionClosed: pass
    else: os._exit(2)
    session.close(); bound.close()
    if time.monotonic() - begun > 5: os._exit(3)
    toys['toy'].drivers.clear(); toys['toyhost'].drivers.clear()
    other = device_session()
    assert other(image(2))['y'].shape == (2, 3)
    other.close()
    sys.exit(0)
_, status = os.wait()
assert status == 0, status
assert session(image(2))['y'].shape == (2, 3)
bound()
session.close()
print('done')
"""


def test_a_forked_child_is_refused_and_the_parent_goes_on() -> None:
    result = child(START + FORK + IN_CHILD)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_a_fork_while_other_threads_run() -> None:
    busy = """
stop = False
def work():
    while not stop: session(image(2)); host(image(2))
host = host_session()
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
time.sleep(0.05)
"""
    code = (
        START + FORK + busy + IN_CHILD.replace("session.close()\nprint", "stop = True\n[t.join() for t in threads]\nsession.close()\nprint")
    )
    result = child(code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_a_forked_child_that_just_ends_is_clean() -> None:
    result = child(START + FORK + "\nif os.fork() == 0: sys.exit(0)\nprint(os.wait()[1])")
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")
