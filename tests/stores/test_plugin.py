"""The page for a plugin's author: its example keeps the contract, and is found by its entry point."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The page's Python files, installed as a distribution with the page's entry point."""
    for language, text in BLOCKS:
        if language == "python":
            (tmp_path / text.split(maxsplit=2)[1]).write_text(text)
    entry_points = next(text for language, text in BLOCKS if language == "toml")
    section, line = entry_points.strip().splitlines()
    group = section.split('"')[1]
    info = tmp_path / "sqlitestore-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sqlitestore\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    return tmp_path


def python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_the_example_keeps_the_contract(example: Path) -> None:
    result = python(example, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_sqlitestore.py")
    summary = result.stdout.splitlines()[-1]
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    passed = re.search(r"(\d+) passed", summary)
    assert passed
    assert int(passed[1]) > 60
    assert "failed" not in summary


def test_the_example_is_found_by_its_entry_point_as_its_configstore_names_it(example: Path) -> None:
    body = yaml.safe_load(next(text for language, text in BLOCKS if language == "yaml"))
    body["spec"]["plugin"]["config"]["file"] = str(example / "values.db")
    body["metadata"] |= {"uid": "u", "generation": 1}
    code = f"""
from tenantconfig import spec
from tenantconfig.acceptance import new_location
from tenantconfig.stores.opening import open_store
store = spec.config_store({body!r})
opened = open_store(new_location(store, ()), store.options)
opened.probe()
print(type(opened).__name__)
"""
    result = python(example, "-c", code)
    assert (result.returncode, result.stdout.strip()) == (0, "SQLiteStore"), result.stderr
