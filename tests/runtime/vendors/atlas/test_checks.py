"""Whether what is installed can run a file: the chip, the release, and the functions of the library, each with found, needed and fix."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.errors import DeviceError
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.runtime.vendors.atlas.checks import installed_cann
from landbridge.runtime.vendors.atlas.driver import AtlasDriver
from support.aipp_reference import preprocess
from support.atlas_device import OnDevice, Simulator, call_of
from support.documented_om import documented

VENDOR = AtlasVendor()
Opener = Callable[..., AtlasDriver]


class Old:
    """A libascendcl of a release that lacks some functions."""

    def __init__(self, path: Path, lacks: tuple[str, ...]) -> None:
        self._name, self._library, self._lacks = str(path), ctypes.CDLL(str(path)), lacks

    def __getattr__(self, name: str) -> Any:
        if name in self._lacks:
            raise AttributeError(name)
        return getattr(self._library, name)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Put the simulator where CANN would be, of a release and without some functions, and open a device as if it were real."""
    simulator = Simulator()
    simulator.reset()
    opened: list[AtlasDriver] = []
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver._processes", {})

    def put(cann: str = "", lacks: tuple[str, ...] = ()) -> AtlasDriver:
        (tmp_path / "lib64").mkdir()
        library = tmp_path / "lib64" / "libascendcl.so"
        library.symlink_to(registry.simulator("atlas"))
        if cann:
            (tmp_path / "runtime").mkdir()
            (tmp_path / "runtime" / "version.info").write_text(f"Version={cann}\nversion_dir=7.0.0\n")
        monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver.open_library", lambda at: Old(library, lacks))
        opened.append(AtlasDriver(0))
        return opened[-1]

    yield put
    for driver in opened:
        driver.close()
    simulator.reset()


def load(driver: AtlasDriver, name: str, **versions: str) -> None:
    blob = documented(name)
    signature = VENDOR.read_signature(blob, {})
    driver.load(blob, replace(signature, versions={**signature.versions, **versions}), {}).close()


@pytest.mark.parametrize(
    ("made", "installed", "fits"),
    [
        ("7.1.0.1.278", "7.1.0.3.220", True),
        ("7.1.0", "7.2", True),
        ("6.3.2", "7.1.0.3.220", True),
        ("7.2.0", "7.1.0.3.220", False),
        ("7.1.1", "7.1.0.3.220", False),
        ("10.0", "9.9.9", False),
        ("7.2.0", "", True),
        ("unknown", "7.1.0", True),
        ("", "7.1.0", True),
    ],
)
def test_a_file_runs_on_the_release_that_made_it_and_on_later_ones(install: Opener, made: str, installed: str, fits: bool) -> None:
    driver = install(installed)
    assert driver.versions.get("cann", "") == installed
    if fits:
        load(driver, "static", atc=made)
        return
    with pytest.raises(DeviceError) as caught:
        load(driver, "static", atc=made)
    assert str(caught.value) == (
        f"atlas0: the offline model was made by ATC {made}, which is newer than the CANN {installed} that is installed here\n"
        f"  hint: install CANN {made} or later, or compile the model with the ATC of CANN {installed}"
    )
    assert caught.value.code == "LB4005"


def test_every_reason_is_told_at_once(install: Opener) -> None:
    driver = install("7.1.0", ("aclmdlSetDynamicBatchSize",))
    with pytest.raises(DeviceError) as caught:
        load(driver, "dynamic", platform="landbridge-sim 1", soc="Ascend910B1", atc="8.0.0")
    assert str(caught.value) == (
        "atlas0: 4 reasons why this offline model cannot run here:\n"
        "  1. this offline model was made by Landbridge for its simulator; a real device cannot run it\n"
        "     fix: compile the model with ATC: atc --soc_version=Ascend310\n"
        "  2. the offline model was compiled for Ascend910B1, this device is Ascend310\n"
        "     fix: compile the model again: atc --soc_version=Ascend310\n"
        "  3. the offline model was made by ATC 8.0.0, which is newer than the CANN 7.1.0 that is installed here\n"
        "     fix: install CANN 8.0.0 or later, or compile the model with the ATC of CANN 7.1.0\n"
        "  4. this release of libascendcl.so (ACL 1.8.0) has no aclmdlSetDynamicBatchSize, which the offline model needs\n"
        "     fix: install a newer CANN or Ascend driver"
    )


@pytest.mark.parametrize(
    ("name", "lacks", "missing"),
    [
        ("static", ("aclmdlSetDynamicBatchSize", "aclmdlSetDynamicHWSize"), ""),
        ("dynamic", ("aclmdlSetDynamicBatchSize", "aclmdlSetDynamicHWSize"), "aclmdlSetDynamicBatchSize"),
        ("static", ("aclmdlLoadWithConfig",), ""),
        ("static", ("aclmdlLoadWithConfig", "aclmdlLoadFromMemWithMem"), "aclmdlLoadFromMemWithMem"),
        ("static", ("aclmdlExecute", "aclmdlCreateDataset"), "aclmdlCreateDataset, aclmdlExecute"),
        ("static", ("aclrtMemcpyAsync", "aclrtMallocHost", "aclrtGetMemInfo", "aclrtGetSocName", "aclGetRecentErrMsg"), ""),
    ],
)
def test_what_a_release_lacks_counts_only_where_it_is_needed(install: Opener, name: str, lacks: tuple[str, ...], missing: str) -> None:
    driver = install("", lacks)
    if not missing:
        load(driver, name)
        return
    with pytest.raises(DeviceError) as caught:
        load(driver, name)
    assert caught.value.message == f"this release of libascendcl.so (ACL 1.8.0) has no {missing}, which the offline model needs"
    assert caught.value.hint == "install a newer CANN or Ascend driver"
    assert caught.value.code == "LB4014"


@pytest.mark.parametrize(("name", "source_format", "shape"), [("rgb", "RGB888_U8", (16, 16, 3)), ("yuv", "YUV420SP_U8", (24, 16, 1))])
def test_a_release_that_tells_no_source_image_runs_files_with_preprocessing(
    install: Opener, name: str, source_format: str, shape: tuple[int, ...]
) -> None:
    driver = install("", ("aclmdlGetInputDimsV2",))
    blob = documented(name)
    model = driver.load(blob, VENDOR.read_signature(blob, {}), {})
    device = OnDevice(driver)
    raw = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    y = device.empty("float32", (2, 17, 14, 14), slack_nbytes=7 * 17 * 14 * 14 * 4)
    with call_of(model, [device.put(raw)], [y]) as call:
        call()
    assert np.isfinite(device.get(y)).all()
    assert np.abs(device.get(y)).max() > 0.01 * np.abs(preprocess(raw, {"input_format": source_format}, 3)).max()
    device.free()
    model.close()


def test_a_source_image_of_another_size_is_noticed_by_its_bytes(install: Opener) -> None:
    driver = install("", ("aclmdlGetInputDimsV2",))
    blob = documented("yuv")
    signature = VENDOR.read_signature(blob, {})
    wrong = replace(signature, inputs=(replace(signature.inputs[0], shape=("batch", 25, 16, 1)),))
    with pytest.raises(DeviceError, match=r"input 0 'd' is uint8 \[-1, 16, 16, 3\], expected uint8 \[batch, 25, 16, 1\]"):
        driver.load(blob, wrong, {})


def test_the_release_is_found_where_installers_put_it(tmp_path: Path) -> None:
    library = tmp_path / "acllib" / "lib64" / "libascendcl.so"
    assert installed_cann(str(library)) == ""
    library.parent.mkdir(parents=True)
    (tmp_path / "acllib" / "version.info").write_text("\n")
    assert installed_cann(str(library)) == ""
    (tmp_path / "acllib" / "version.info").write_text("version=1.75.22.0.220\n")
    assert installed_cann(str(library)) == "1.75.22.0.220"
    assert installed_cann("libnothing-of-this-name.so") == ""
