"""A directory that shows one version at a time."""

import json
import os
import shlex
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tenantconfig.client.files import ConfigDirectory, NoFileName


def shown(root: Path) -> dict[str, str]:
    """What an application that lists the directory reads."""
    return {each.name: each.read_text() for each in root.iterdir() if not each.name.startswith("..")}


@pytest.fixture
def directory(tmp_path: Path) -> ConfigDirectory:
    return ConfigDirectory(tmp_path / "made" / "config")


def test_each_key_is_a_file_and_only_those_of_the_last_version_are_there(directory: ConfigDirectory) -> None:
    directory.write({"a": "1", "b.c": "ü\n"})
    assert shown(directory.root) == {"a": "1", "b.c": "ü\n"}
    directory.write({"a": "2", "d": ""})
    assert shown(directory.root) == {"a": "2", "d": ""}
    directory.write({})
    assert shown(directory.root) == {}
    assert len(list(directory.root.iterdir())) == 2, "..data, and what it points to"


def test_it_is_laid_out_as_kubelets_and_readable_for_other_users(directory: ConfigDirectory) -> None:
    directory.write({"a": "1"})
    assert (directory.root / "a").readlink() == Path("..data/a")
    data = directory.root / "..data"
    assert data.is_symlink()
    assert stat.S_IMODE((data / "a").stat().st_mode) == 0o644
    assert stat.S_IMODE(data.resolve().stat().st_mode) == 0o755


def test_what_others_put_there_stays(directory: ConfigDirectory) -> None:
    directory.root.mkdir(parents=True)
    (directory.root / "theirs").write_text("theirs")
    directory.write({"a": "1"})
    directory.write({})
    assert shown(directory.root) == {"theirs": "theirs"}


def test_a_key_whose_place_is_taken_leaves_nothing_behind_however_often_it_is_tried(directory: ConfigDirectory) -> None:
    directory.write({"a": "1"})
    (directory.root / "theirs").mkdir()
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            directory.write({"theirs": "2"})
    assert len([each for each in directory.root.glob("..*") if each.is_dir() and not each.is_symlink()]) == 1


def test_everything_as_json_and_as_dotenv(tmp_path: Path) -> None:
    directory = ConfigDirectory(tmp_path, "all.json", "all.env")
    entries = {"tenant.max-orders": "5", "0text": "it's $HOME\nand `x`", "json": '{"a":1}'}
    directory.write(entries)
    assert json.loads((tmp_path / "all.json").read_text()) == entries
    lines = (tmp_path / "all.env").read_text()
    read = dict(word.split("=", 1) for word in shlex.split(lines))
    assert read == {"TENANT_MAX_ORDERS": "5", "_0TEXT": entries["0text"], "JSON": entries["json"]}


def test_an_apostrophe_is_for_shells_and_for_readers_of_dotenv(tmp_path: Path) -> None:
    directory = ConfigDirectory(tmp_path, env_name="all.env")
    directory.write({"a": "it's", "b": 'say "it\'s"', "c": 'plain "$x"'})
    assert (tmp_path / "all.env").read_text() == """A="it's"\nB='say "it'\\''s"'\nC='plain "$x"'\n"""


@pytest.mark.parametrize("key", ["all.json", "all.env"])
def test_a_key_does_not_take_the_place_of_the_file_with_everything(tmp_path: Path, key: str) -> None:
    directory = ConfigDirectory(tmp_path / "config", "all.json", "all.env")
    with pytest.raises(NoFileName, match=key):
        directory.write({key: "x"})
    assert not directory.root.exists()


def test_two_keys_are_not_one_variable(tmp_path: Path) -> None:
    entries = {"a.b": "1", "a_b": "2"}
    with pytest.raises(NoFileName, match=r"'a.b' and 'a_b' are both A_B in \.env"):
        ConfigDirectory(tmp_path, env_name=".env").write(entries)
    ConfigDirectory(tmp_path, json_name="all.json").write(entries)
    assert (tmp_path / "a.b").read_text() == "1"


def test_a_link_to_elsewhere_with_the_name_of_a_key_is_replaced(directory: ConfigDirectory, tmp_path: Path) -> None:
    directory.root.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("theirs")
    (directory.root / "a").symlink_to(tmp_path / "elsewhere")
    directory.write({"a": "1"})
    assert shown(directory.root) == {"a": "1"}
    assert (tmp_path / "elsewhere").read_text() == "theirs"


def test_what_a_process_that_was_killed_has_left_is_swept_away(directory: ConfigDirectory) -> None:
    directory.sweep()
    directory.write({"a": "1"})
    (directory.root / "..left").mkdir()
    (directory.root / "..left" / "a").write_text("0")
    directory.sweep()
    assert len(list(directory.root.iterdir())) == 3
    assert shown(directory.root) == {"a": "1"}


def test_files_are_utf8_whatever_the_locale_is(directory: ConfigDirectory) -> None:
    write = f"ConfigDirectory(Path({str(directory.root)!r})).write({{'a': '\\u00fc\\r\\n'}})"
    code = f"from tenantconfig.client.files import ConfigDirectory, Path; {write}"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert (directory.root / "a").read_bytes() == "ü\r\n".encode()


@pytest.mark.parametrize("key", ["", "..", "..data", "../x", "a/b", "a\0"])
def test_a_key_that_leads_out_of_the_directory_is_refused_and_changes_nothing(
    directory: ConfigDirectory, key: str
) -> None:
    directory.write({"a": "1"})
    with pytest.raises(NoFileName):
        directory.write({"a": "2", key: "x"})
    assert shown(directory.root) == {"a": "1"}


def test_a_write_that_fails_leaves_the_former_version(
    directory: ConfigDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.write({"a": "1"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        directory.write({"a": "2"})
    assert shown(directory.root) == {"a": "1"}
    assert len(list(directory.root.iterdir())) == 3


def test_a_reader_never_sees_two_versions_at_once(directory: ConfigDirectory) -> None:
    keys = [f"key-{number}" for number in range(20)]
    directory.write(dict.fromkeys(keys, "0"))
    done = threading.Event()
    mixed: list[set[str]] = []

    def read() -> None:
        while not done.is_set():
            try:
                version = Path(os.path.realpath(directory.root / "..data"))
                found = {(version / key).read_text() for key in keys}
            except FileNotFoundError:
                continue  # the version has gone meanwhile, as it does with kubelet
            if len(found) != 1:
                mixed.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 100):
        directory.write(dict.fromkeys(keys, str(number)))
    done.set()
    reader.join()
    assert mixed == []
