"""The command line. Each command loads its settings, imports its module of app, and runs it."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tenantconfig import settings
from tenantconfig.app import Failure
from tenantconfig.errors import TenantConfigError

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tenantconfig")
def main() -> None:
    """Tenant configuration for Kubernetes: from a resource in Git to running pods."""


@main.command()
@click.option("--lease-namespace", metavar="NS", help="Where the Lease and the tick are.")
@click.option("--refresh-queue-url", metavar="URL", help="Hear there of changes made in AWS; default: only look.")
@click.option("--sweep-seconds", type=float, metavar="N", help="Look at everything again so often; 0: never.")
@click.option("--stale-seconds", type=float, metavar="N", help="Bear a store out of reach so long; default: 60.")
@click.option("--metrics-port", type=int, metavar="N", help="Serve Prometheus metrics there.")
def controller(**flags: Any) -> None:
    """Reconcile TenantConfigs into their stores and ConfigMaps."""
    from tenantconfig.app import controller

    _run(controller.run, settings.ControllerSettings, flags)


@main.command("watch-server")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen.")
@click.option("--tls-cert", type=FILE, metavar="FILE", help="Certificate chain; read again when it changes.")
@click.option("--tls-key", type=FILE, metavar="FILE", help="Its private key.")
@click.option("--insecure", is_flag=True, default=None, help="Listen in plaintext.")
@click.option("--issuers", type=FILE, metavar="FILE", help="Whose tokens to accept.")
@click.option("--metrics-port", type=int, metavar="N", help="Serve Prometheus metrics and /ready there.")
@click.option("--operator-namespace", metavar="NS", help="Where the controller writes its tick.")
@click.option("--max-streams", type=int, metavar="N", help="Default: 20000; ten subscriptions for each.")
@click.option("--max-streams-per-peer", type=int, metavar="N", help="Of one address and token bearer; default: 5000.")
def watch_server(**flags: Any) -> None:
    """Serve the projected ConfigMaps as streams."""
    from tenantconfig.app import watch_server

    _run(watch_server.run, settings.WatchServerSettings, flags)


def _subscriber_options(command: F) -> F:
    options = [
        click.option("--server", metavar="HOST:PORT", help="The watch server; several with commas between them."),
        click.option("--ca", type=FILE, metavar="FILE", help="Certificates to trust; default: the system's."),
        click.option("--insecure", is_flag=True, default=None, help="Connect in plaintext."),
        click.option("--token-file", type=FILE, metavar="FILE", help="The bearer token; read again when it expires."),
        click.option("--tenant", metavar="T", help="The scope's tenant."),
        click.option("--environment", metavar="E", help="The scope's environment, if it has one."),
        click.option("--service", metavar="S", help="The scope's service, if it has one."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_output = click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), help="Default: table.")


@main.command()
@_subscriber_options
@_output
def watch(**flags: Any) -> None:
    """Print each version of a scope as it comes."""
    _quiet()
    from tenantconfig.app import client

    _run(client.run_watch, settings.ClientSettings, flags)


@main.command()
@_subscriber_options
@_output
def get(**flags: Any) -> None:
    """Print a scope as it is now."""
    _quiet()
    from tenantconfig.app import client

    _run(client.run_get, settings.ClientSettings, flags)


@main.command()
@_subscriber_options
@click.option("--directory", type=FILE, metavar="DIR", help="Keep a file for each key there, all of one version.")
@click.option("--json-file", metavar="NAME", help="A file there with everything as JSON.")
@click.option("--env-file", metavar="NAME", help="A file there with everything as NAME='value' lines.")
@click.option("--cache", type=FILE, metavar="DIR", help="Start from what was kept there while no server answers.")
@click.option("--notify-url", metavar="URL", help="POST there after each change.")
@click.option("--signal", metavar="SIGHUP", help="Send this after each change to the process in --pid-file.")
@click.option("--pid-file", type=FILE, metavar="FILE", help="Holds the process id.")
@click.option("--listen", metavar="HOST:PORT", help="/ready, /status and metrics; default: 127.0.0.1:9110.")
@click.option("--grace", type=float, metavar="SECONDS", help="When stale becomes an error; default: 60.")
def agent(**flags: Any) -> None:
    """Keep a directory of files current, for an application in any language."""
    _quiet()
    from tenantconfig.app import agent

    _run(agent.run, settings.AgentSettings, flags)


@main.command()
@click.option("-f", "--filename", "filenames", metavar="FILE|DIR|-", multiple=True, required=True, help="Repeatable.")
@click.option("--stores", metavar="FILE|DIR|-", multiple=True, help="Where the cluster's ConfigStores are.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="Default: table.")
def validate(**flags: Any) -> None:
    """Judge manifests without a cluster: schema, routes, sizes, permission."""
    try:
        from tenantconfig.app import validate
    except ModuleNotFoundError as missing:
        raise click.UsageError(f"{missing.name} is not installed: pip install 'tenantconfig[validate]'") from None

    _guarded(lambda: validate.run(**flags))


@main.command("verify-isolation")
@_subscriber_options
@click.option("--namespace", metavar="NS", help="Where the tenant's pods are, this one among them.")
@click.option("--foreign-scope", metavar="TENANT[/ENVIRONMENT[/SERVICE]]", help="Whose values must be out of reach.")
@click.option("--foreign-namespace", metavar="NS", help="Where its TenantConfig and ConfigMap are.")
@click.option("--push-gateway", metavar="HOST:PORT", help="Push the outcome there as metrics.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), help="Default: table.")
def verify_isolation(**flags: Any) -> None:
    """Try, as one tenant, every way to another's values; nothing is changed.

    Exits with 0 when all were refused, 1 when one succeeded, 3 when one could not be tried.
    """
    from tenantconfig.app import isolation

    _run(isolation.run, settings.IsolationSettings, flags)


def kubectl_plugin() -> None:
    """The same command line as `kubectl tenantconfig`: kubectl finds it by the name of the executable."""
    main(prog_name="kubectl tenantconfig")


def _quiet() -> None:
    """Have gRPC leave it to us to say what went wrong; it reads this when it is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _run(command: Callable[[Any], int | None], kind: type[settings.Settings], flags: dict[str, Any]) -> None:
    _guarded(lambda: command(settings.load(kind, **flags)))


def _guarded(command: Callable[[], int | None]) -> None:
    """Runs a command; what a person can mend is one line on stderr, without a traceback."""
    try:
        sys.exit(command() or 0)
    except (settings.SettingsInvalid, Failure, TenantConfigError) as error:
        click.echo(f"tenantconfig: {error}", err=True)
        sys.exit(2 if isinstance(error, settings.SettingsInvalid) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads: nothing more to say
        sys.exit(1)


if __name__ == "__main__":
    main()
