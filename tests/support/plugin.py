"""What an installer makes of a package with a ``src`` folder, without an installer: its modules, and the metadata by which it is found."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path


def install(package: Path, site: Path) -> None:
    """Put the package in the folder ``package`` into ``site``; on ``PYTHONPATH`` it is as if it were installed."""
    project = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]
    shutil.copytree(package / "src", site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = (
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items()) for group, points in project["entry-points"].items()
    )
    (metadata / "entry_points.txt").write_text("".join(groups))
