"""Record what offline models were given and gave, and replay it where their devices are not.

A recording is a folder with one folder a model, named by the SHA-256 of its blob, and in it one ``.npz`` a call, named by the SHA-256 of
its inputs. In a replay the memory of a device is the host's; all else of an artifact (copies, casts, host code) runs as it always
does. What was not recorded is an error: nothing is made up. What runs on the CPU is neither recorded nor replayed.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime import dtypes
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import Driver, LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.heap import Block
from landbridge.runtime.memory import OpenDevice, allocate_host, view
from landbridge.runtime.plan import Extern
from landbridge.runtime.save_file import save_file
from landbridge.runtime.signature import Signature

if TYPE_CHECKING:
    from landbridge.runtime.boundaries import Boundary

_LOG = logging.getLogger(__name__)

FORMAT = "landbridge-recording"
FORMAT_VERSION = 1

_FACTS = "model.json"
"""In the folder of a model: what it is, and what it was recorded on."""
_MANY = 1000
"""Of so many recorded calls at most an error looks for the nearest."""

Array = NDArray[Any]


def record_calls(folder: str | Path, artifact: Artifact, boundaries: Iterable[Boundary], homes: Mapping[str, OpenDevice]) -> int:
    """Add the calls of one run to the recording in ``folder``; return how many there were.

    Args:
        artifact: that was run, with the digests of its sections; of an offline model with several blobs, the one that ran is the first.
        boundaries: of the run (`landbridge.runtime.session.Session.boundaries`).
        homes: the device of each offline model, by its symbol.

    Raises:
        OSError: the folder cannot be written.
    """
    records, count = {record.symbol: record for record in artifact.externs}, 0
    for boundary in boundaries:
        step = artifact.plan.steps[boundary.step]
        assert isinstance(step, Extern), "a boundary is that of an offline model"
        record, driver = records[step.model], homes[step.model].driver
        if record.device == "cpu":
            continue
        digest = artifact.section_digests[record.section]
        home = _home(Path(folder), digest, record.options)
        home.mkdir(parents=True, exist_ok=True)
        facts = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": boundary.model,
            "vendor": record.vendor,
            "sha256": digest,
            "options": dict(record.options),
            "device": record.device,
            "versions": dict(driver.versions),
            "simulated": driver.simulated or _is_simulated(home),
        }
        save_file(home / _FACTS, [json.dumps(facts, indent=2).encode() + b"\n"])
        inputs = [value.array for value in boundary.inputs]
        types = [artifact.plan.buffers[value.buffer].dtype for value in boundary.inputs]
        arrays = _named("input", inputs) | _named("output", [value.array for value in boundary.outputs])
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]  # its stub takes no **arrays
        save_file(home / f"{_digest(types, inputs)}.npz", [content.getvalue()])
        count += 1
    return count


def stand_in(folder: str | Path, artifact: Artifact) -> None:
    """Make a recording of no call, with which an artifact can be opened where its devices are not.

    Args:
        artifact: with the bytes of its sections.

    Raises:
        OSError: the folder cannot be written.
    """
    for record in artifact.externs:
        home = _home(Path(folder), hashlib.sha256(artifact.sections[record.section]).hexdigest(), record.options)
        home.mkdir(parents=True, exist_ok=True)
        facts = {"name": record.name or record.symbol, "device": record.device, "simulated": True}
        (home / _FACTS).write_bytes(json.dumps(facts).encode())


def _is_simulated(home: Path) -> bool:
    """Return whether a simulator had a part in what is recorded already of a model."""
    try:
        return bool(json.loads((home / _FACTS).read_bytes())["simulated"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        return True  # nobody knows any more


def _named(kind: str, arrays: Sequence[Array]) -> dict[str, Array]:
    return {f"{kind}{index}": array for index, array in enumerate(arrays)}


def _home(folder: Path, digest: str, options: Mapping[str, str]) -> Path:
    """Return the folder of a model: options may choose one of several functions in a blob."""
    told = hashlib.sha256(json.dumps(dict(options), sort_keys=True).encode()).hexdigest()
    return folder / (f"{digest}-{told[:16]}" if options else digest)


def _digest(types: Sequence[str], arrays: Sequence[Array]) -> str:
    """Return the SHA-256 of what a model is given, types and shapes included."""
    found = hashlib.sha256()
    for dtype, array in zip(types, arrays, strict=True):
        found.update(f"{dtype}{list(array.shape)}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


class ReplayDriver(Driver):
    """A device that is not there: its memory is the host's, and its models give what was recorded.

    Attributes:
        folder: of the recording.
    """

    simulated = True

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.versions: Mapping[str, str] = {"replay": str(folder)}
        self._blocks: dict[int, Block] = {}

    def allocate(self, nbytes: int) -> int:
        """Return the address of memory of the host."""
        block = allocate_host(nbytes)
        self._blocks[block.address] = block
        return block.address

    def free(self, address: int) -> None:
        """Give it back."""
        del self._blocks[address]

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy within the host's memory."""
        ctypes.memmove(destination, source, nbytes)

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy within the host's memory."""
        ctypes.memmove(destination, source, nbytes)

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Find what was recorded of a blob.

        Raises:
            DeviceError: nothing was; the hint has what was.
        """
        home = _home(self.folder, hashlib.sha256(blob).hexdigest(), options)
        try:
            facts = json.loads((home / _FACTS).read_bytes())
            device, simulated = facts["device"], facts["simulated"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            others = ", ".join(sorted(_names(self.folder))) or "nothing"
            message = f"nothing is recorded in {self.folder} of this blob, SHA-256 {hashlib.sha256(blob).hexdigest()}"
            hint = f"recorded there: {others}; record it where the device is: landbridge run ARTIFACT --record {self.folder}"
            raise DeviceError(message, hint=hint, code="LB4011") from error
        _LOG.info("%s is replayed as recorded on %s%s", facts["name"], device, " (simulated)" if simulated else "")
        return ReplayModel(home, signature)

    def close(self) -> None:
        """Give back what was not."""
        self._blocks.clear()


def _names(folder: Path) -> Iterator[str]:
    """Yield the names of the models in a recording."""
    for path in sorted(folder.glob(f"*/{_FACTS}")):
        try:
            yield str(json.loads(path.read_bytes())["name"])
        except (OSError, ValueError, KeyError, TypeError):
            yield f"{path} (damaged)"


class ReplayModel(LoadedModel):
    """The recorded calls of one model."""

    concurrent = True

    def __init__(self, home: Path, signature: Signature) -> None:
        self._home = home
        self._signature = signature

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Return what answers for the model."""
        return _ReplayCall(self, tuple(inputs), tuple(outputs))

    def run_open(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef | None]) -> list[Array | None]:
        """Answer for a model some of whose outputs have shapes that only the data tells."""
        results = self.outputs([ref.dtype for ref in inputs], [view(ref.address, ref.dtype, ref.shape) for ref in inputs], len(outputs))
        for index, (ref, result) in enumerate(zip(outputs, results, strict=True)):
            if ref is not None:
                _put(index, ref, result)
        return [result if ref is None else None for ref, result in zip(outputs, results, strict=True)]

    def outputs(self, types: Sequence[str], inputs: Sequence[Array], count: int) -> list[Array]:
        """Return what the model gave for ``inputs``.

        Raises:
            DeviceError: it was never given them, or the recording is damaged.
        """
        path = self._home / f"{_digest(types, inputs)}.npz"
        if not path.exists():
            shown = ", ".join(f"{dtype} {render_shape(array.shape)}" for dtype, array in zip(types, inputs, strict=True))
            raise DeviceError(
                f"no recorded call had these inputs: {shown}; {self._nearest(inputs)}",
                hint="record this run where the device is, or replay with the inputs of a recorded one",
                code="LB4011",
            )
        return _read(path, "output", count)

    def _nearest(self, inputs: Sequence[Array]) -> str:
        """Return what a message says of the recorded calls that are most like this one."""
        shapes = [array.shape for array in inputs]
        found: dict[str, int] = {}
        difference: float | None = None
        for path in sorted(self._home.glob("*.npz"))[:_MANY]:
            recorded = _read(path, "input", len(inputs))
            if [array.shape for array in recorded] == shapes:
                most = max((_difference(a, b) for a, b in zip(inputs, recorded, strict=True)), default=0.0)
                difference = most if difference is None else min(difference, most)
            found[", ".join(render_shape(array.shape) for array in recorded)] = _distance(shapes, [array.shape for array in recorded])
        if difference is not None:
            return f"one of the same shapes was recorded, its values differ by up to {difference:.3g}"
        nearest = sorted(found, key=lambda text: (found[text], text))[:3]
        return f"recorded were the shapes {' and '.join(nearest)}" if nearest else "no call was recorded"

    def close(self) -> None:
        """Nothing is open."""


def _difference(found: Array, recorded: Array) -> float:
    return float(np.abs(found.astype(np.float64) - recorded.astype(np.float64)).max(initial=0))


def _distance(found: Sequence[tuple[int, ...]], recorded: Sequence[tuple[int, ...]]) -> int:
    """Return how far shapes are from each other; another rank is farther than any extents."""
    total = 0
    for mine, other in zip(found, recorded, strict=True):
        total += sum(abs(a - b) for a, b in zip(mine, other, strict=True)) if len(mine) == len(other) else 1 << 40
    return total


def _read(path: Path, kind: str, count: int) -> list[Array]:
    import zipfile  # noqa: PLC0415 - only recordings need it

    try:
        with np.load(path, allow_pickle=False) as file:
            return [file[f"{kind}{index}"] for index in range(count)]
    except (OSError, EOFError, ValueError, TypeError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DeviceError(f"the recording {path} is damaged: {error}", hint="remove it and record the run again", code="LB4011") from error


def _put(index: int, ref: TensorRef, result: Array) -> None:
    """Write a recorded output where the program reads it."""
    target = view(ref.address, ref.dtype, ref.shape)
    if (result.dtype, result.shape) != (dtypes.holder(ref.dtype), target.shape):
        found = f"{result.dtype} {render_shape(result.shape)}"
        raise DeviceError(f"the recorded output {index} is {found}, expected {ref.dtype} {render_shape(ref.shape)}", code="LB4011")
    np.copyto(target, result)


class _ReplayCall(PreparedCall):
    def __init__(self, model: ReplayModel, inputs: tuple[TensorRef, ...], outputs: tuple[TensorRef, ...]) -> None:
        self._model, self._inputs, self._outputs = model, inputs, outputs

    def __call__(self) -> None:
        given = [view(ref.address, ref.dtype, ref.shape) for ref in self._inputs]
        results = self._model.outputs([ref.dtype for ref in self._inputs], given, len(self._outputs))
        for index, (ref, result) in enumerate(zip(self._outputs, results, strict=True)):
            _put(index, ref, result)

    def close(self) -> None:
        """Nothing is open."""
