"""Ask libcnrt for the signature of an offline model, on its fake device, in a process of its own.

A process of its own, because the library can be initialised for a fake or for a real device but not for both, and because it is
not told how long a model is: one that is cut off may end the process that it is loaded in.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from ctypes import byref, c_uint64
from pathlib import Path
from typing import Any

from landbridge.runtime.errors import DeviceError, SignatureError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.cambricon.cnrt import FAKE, FAKE_ORDINAL, SUCCESS, WARNING_FAKE_DEVICE, Cnrt
from landbridge.runtime.vendors.cambricon.format import MUTABLE, SYMBOL
from landbridge.runtime.vendors.cambricon.function import choose_symbol, core_of, extract, load_model, read_interface, signature_of

_log = logging.getLogger(__name__)

TIMEOUT_S = 120


def query(library: str, data: bytes, options: Mapping[str, str], at: str) -> Signature:
    """Return the signature of the function that ``options`` name, as the library at path ``library`` tells it.

    Raises:
        SignatureError: the library refused the model, or crashed on it.
    """
    folders = [str(Path(__file__).parents[4]), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-m", __name__, library, json.dumps(dict(options))]
    try:
        done = subprocess.run(command, input=data, capture_output=True, env=environment, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SignatureError(f"libcnrt gave no answer about this model within {TIMEOUT_S} s", at=at, code="LB2106") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise SignatureError(f"libcnrt crashed on this model ({name}): it is cut off, or not one of Cambricon's", at=at, code="LB2103")
    if done.returncode != 0:
        raise SignatureError(f"libcnrt could not be asked: {done.stderr.decode('utf-8', 'replace').strip()[-500:]}", at=at, code="LB2106")
    found: dict[str, Any] = json.loads(done.stdout)
    if "error" in found:
        raise SignatureError(found["error"], at=at, hint=found["hint"], code="LB2103")
    return Signature.from_json(found["signature"])


def answer(library: str, data: bytes, options: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer of this process: {"signature": …} or {"error": …, "hint": …}."""
    cnrt = Cnrt(ctypes.CDLL(library), "")
    try:
        with ExitStack() as stack:
            return {"signature": _ask(cnrt, data, options, stack).to_json()}
    except DeviceError as error:
        return {"error": error.message, "hint": error.hint}


def _ask(cnrt: Cnrt, data: bytes, options: Mapping[str, str], stack: ExitStack) -> Signature:
    def quietly(name: str, *arguments: Any) -> None:
        code = cnrt.get(name, *arguments)
        if code != SUCCESS:
            _log.warning("while freeing: %s", cnrt.failure(name, code))

    device = c_uint64()
    for name, arguments in (("cnrtInit", (FAKE,)), ("cnrtGetDeviceHandle", (byref(device), FAKE_ORDINAL))):
        code = cnrt.get(name, *arguments)
        if code not in (SUCCESS, WARNING_FAKE_DEVICE):
            raise cnrt.failure(name, code)
    code = cnrt.get("cnrtSetCurrentDevice", device)
    if code not in (SUCCESS, WARNING_FAKE_DEVICE):
        raise cnrt.failure("cnrtSetCurrentDevice", code)
    memory = ctypes.create_string_buffer(data, len(data) + 1)
    model = load_model(cnrt, ctypes.addressof(memory), stack, quietly)
    stack.callback(len, memory)  # it stays until the model is unloaded
    symbol = choose_symbol(cnrt, model, options.get(SYMBOL, ""))
    function = extract(cnrt, model, symbol, stack, quietly)
    interface = read_interface(cnrt, function, mutable=options.get(MUTABLE) == "true")
    return signature_of(cnrt, function, interface, core_of(cnrt, model), quietly)


def main(arguments: list[str]) -> int:
    """Answer about the model on the standard input. The answer alone goes to the standard output: the vendor's libraries print, too."""
    library, options = arguments
    output = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(output, "w") as file:
        file.write(json.dumps(answer(library, sys.stdin.buffer.read(), json.loads(options))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
