"""Flags, then variables, then defaults; and what the command line says when something is missing."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tenantconfig.cli import main
from tenantconfig.settings import AgentSettings, ClientSettings, SettingsInvalid, WatchServerSettings, load


def test_flags_win_over_variables_and_these_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTCONFIG_SERVER", "variable:1")
    monkeypatch.setenv("TENANTCONFIG_CA", "/ca.crt")
    monkeypatch.setenv("TENANTCONFIG_TOKEN_FILE", "/token")
    settings = load(ClientSettings, tenant="acme", service=None)
    assert (settings.server, settings.ca, settings.service) == ("variable:1", Path("/ca.crt"), "")
    assert load(ClientSettings, tenant="acme", server="flag:1").server == "flag:1"


def test_what_is_missing_is_named_by_flag_and_variable() -> None:
    with pytest.raises(SettingsInvalid, match=r"--token-file \(or TENANTCONFIG_TOKEN_FILE\) is required"):
        load(ClientSettings, tenant="acme", server="x:1")


@pytest.mark.parametrize(
    "transport",
    [
        {},
        {"insecure": True, "tls_cert": Path("c"), "tls_key": Path("k")},
        {"tls_cert": Path("c")},
        {"tls_key": Path("k")},
    ],
)
def test_plaintext_only_when_asked_for(transport: dict[str, object]) -> None:
    with pytest.raises(SettingsInvalid, match="--tls-cert"):
        load(WatchServerSettings, listen="x:1", issuers=Path("i"), **transport)
    load(WatchServerSettings, listen="x:1", issuers=Path("i"), insecure=True)


def test_a_client_says_how_it_trusts_once() -> None:
    with pytest.raises(SettingsInvalid, match="not both"):
        load(ClientSettings, tenant="a", server="x:1", token_file=Path("t"), insecure=True, ca=Path("c"))


AGENT = {"server": "x:1", "token_file": "/token", "tenant": "acme", "directory": "/config"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"listen": "9110"}, "--listen (or TENANTCONFIG_LISTEN) is to be HOST:PORT"),
        ({"env_file": "a/b"}, "--env-file (or TENANTCONFIG_ENV_FILE) is to be a file's name, without a directory"),
        ({"json_file": ".."}, "--json-file (or TENANTCONFIG_JSON_FILE) is to be a file's name, without a directory"),
        ({"notify_url": "app:80"}, "--notify-url (or TENANTCONFIG_NOTIFY_URL) is to be a URL of http or https"),
        ({"signal": "hup"}, "--signal (or TENANTCONFIG_SIGNAL) is to be a signal's name, such as SIGHUP"),
    ],
)
def test_what_has_a_form_is_told_by_its_form(wrong: dict[str, str], message: str) -> None:
    assert load(AgentSettings, **AGENT, env_file=".env").env_file == ".env"
    with pytest.raises(SettingsInvalid) as invalid:
        load(AgentSettings, **AGENT, **wrong)
    assert str(invalid.value) == message


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["watch", "--tenant=acme"], "--server (or TENANTCONFIG_SERVER) is required", 2),
        (["get", "--tenant=a", "--server=x:1", "--token-file=/no/such"], "--token-file /no/such cannot be read", 1),
        (["watch-server", "--listen=x:1", "--issuers=/no/such", "--insecure"], "issuers file /no/such cannot", 1),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, code: int) -> None:
    result = CliRunner().invoke(main, arguments)
    assert message in result.stderr
    assert result.exit_code == code
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["watch-server", "watch", "get"])
def test_help(command: str) -> None:
    assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
