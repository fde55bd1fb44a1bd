"""Open a vendor's library where its installation may have put it."""

from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.runtime.errors import DeviceError
from landbridge.runtime.vendors.shared_library import open_first

FACTS = {"called": "the library libnone.so", "at": "npu0", "hint": "install it"}


def test_the_first_place_that_has_it_is_taken(tmp_path: Path) -> None:
    assert open_first([tmp_path / "libm.so.6", Path("libm.so.6"), Path("libnone.so")], **FACTS).cos is not None


def test_what_does_not_load_is_said_of_every_place_that_has_it(tmp_path: Path) -> None:
    damaged = tmp_path / "libnone.so"
    damaged.write_bytes(b"no library")
    with pytest.raises(DeviceError) as caught:
        open_first([tmp_path / "absent" / "libnone.so", damaged, Path("libnone.so")], **FACTS)
    text = str(caught.value)
    assert text.startswith("npu0: the library libnone.so does not load: ")
    assert text.endswith("\n  hint: install it")
    assert str(damaged) in text
    assert "absent" not in text
    assert text.count("libnone.so: ") == 2
