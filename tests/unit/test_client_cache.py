"""What a client keeps for the next start."""

import json
import stat
from pathlib import Path

import pytest

from tenantconfig.client.cache import LastKnownGood
from tenantconfig.model import Scope, Snapshot, Version, digest

SCOPE = Scope("acme", "prod", "checkout")
ENTRIES = {"key": "ü", "other": "{}"}


def snapshot(scope: Scope = SCOPE) -> Snapshot:
    return Snapshot(scope, Version(57, digest(ENTRIES)), ENTRIES)


@pytest.fixture
def cache(tmp_path: Path) -> LastKnownGood:
    return LastKnownGood(tmp_path / "made" / "here")


def test_what_was_saved_is_loaded_scope_by_scope(cache: LastKnownGood) -> None:
    scopes = [SCOPE, Scope("acme"), Scope("acme", "", "prod"), Scope("acme", "prod")]
    for scope in scopes:
        assert cache.load(scope) is None
        cache.save(snapshot(scope))
    assert [cache.load(scope) for scope in scopes] == [snapshot(scope) for scope in scopes]


def test_its_files_are_for_their_owner_alone_and_nothing_else_is_left(cache: LastKnownGood) -> None:
    for _ in range(3):
        cache.save(snapshot())
    (file,) = cache.directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: saved | {"entries": ENTRIES | {"key": "another"}},
        lambda saved: saved | {"digest": "0"},
        lambda saved: saved | {"revision": "many"},
        lambda saved: saved | {"revision": 0},
        lambda saved: saved | {"revision": 2**63},
        lambda saved: saved | {"entries": 5},
        lambda saved: saved | {"entries": {"key": "\ud800"}},
        lambda saved: {},
        lambda saved: [],
    ],
)
def test_what_does_not_fit_its_digest_is_not_believed(cache: LastKnownGood, damage: object) -> None:
    cache.save(snapshot())
    (file,) = cache.directory.iterdir()
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))  # type: ignore[operator]
    assert cache.load(SCOPE) is None
    for damaged in (b'{"half', b'{"revision": 1e999}', b"[" * 100_000, b"", b"\xff"):
        file.write_bytes(damaged)
        assert cache.load(SCOPE) is None


def test_what_was_withdrawn_is_dropped_once_and_again(cache: LastKnownGood) -> None:
    cache.save(snapshot())
    cache.drop(SCOPE)
    cache.drop(SCOPE)
    assert cache.load(SCOPE) is None


def test_a_save_that_fails_leaves_what_was_there(cache: LastKnownGood, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.save(snapshot())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        cache.save(Snapshot(SCOPE, Version(58, digest({})), {}))
    assert cache.load(SCOPE) == snapshot()
    assert len(list(cache.directory.iterdir())) == 1
