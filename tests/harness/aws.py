"""Local AWS: moto for everything, DynamoDB Local for what only the real DynamoDB's code decides."""

import http.client
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from harness.processes import Process
from harness.recorder import HOST, Call, Recorder
from prepare import dynamodb_local

REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


class LocalAws:
    """A server process, with a recorder before it unless it is kept."""

    name: str

    def __init__(self, process: Process, port: int, recorder: Recorder | None) -> None:
        self.process = process
        self.direct_endpoint = f"http://{HOST}:{port}"
        self._recorder = recorder

    @classmethod
    def _start(cls, command: list[str], port: int, directory: Path, keep: bool) -> Self:
        process = Process.start(command, log=directory / f"{cls.name}.log", keep=keep)
        try:
            process.wait_until(lambda: _listening(port), f"listening on port {port}")
        except BaseException:
            process.stop()
            raise
        # A recorder lives in this process; what is kept must work without it.
        return cls(process, port, None if keep else Recorder(port))

    @property
    def recorder(self) -> Recorder:
        """What counts the calls and injects faults."""
        if self._recorder is None:
            raise RuntimeError(f"{self.name} was started to be kept, and is not recorded")
        return self._recorder

    @property
    def endpoint(self) -> str:
        """The address whose calls are counted."""
        return f"http://{HOST}:{self._recorder.port}" if self._recorder else self.direct_endpoint

    def environment(self) -> dict[str, str]:
        """The variables with which boto3 in a child finds this server."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": REGION, **CREDENTIALS}

    def client(self, service: str, *, recorded: bool = False) -> Any:
        """A boto3 client for the test's own use; its calls are not counted unless it says so."""
        session = boto3.Session("local", "local", region_name=REGION)
        # No proxies and no CA bundle of the environment: see harness.processes.
        config = Config(proxies={}, retries={"mode": "standard"}, parameter_validation=False)
        endpoint = self.endpoint if recorded else self.direct_endpoint
        return session.client(service, endpoint_url=endpoint, config=config, verify=False)  # type: ignore[call-overload]

    def calls(self) -> list[str]:
        """The operations that were called since the last reset, in order."""
        return [call.operation for call in self.recorder.calls()]

    def call_counts(self) -> Counter[str]:
        """How often each operation was called since the last reset."""
        return Counter(self.calls())

    def recorded(self, operation: str | None = None) -> list[Call]:
        """The calls with their parameters."""
        return [call for call in self.recorder.calls() if operation in (None, call.operation)]

    def reset_calls(self) -> None:
        """Forgets what was called, and the faults not yet used."""
        self.recorder.reset()

    def fail(self, operation: str, code: str, *, status: int = 400, times: int = 1) -> None:
        """Has the next calls of an operation fail, such as ("PutParameter", "ThrottlingException")."""
        self.recorder.fail(operation, code, status=status, times=times)

    def stop(self) -> None:
        """Ends the server and its recorder."""
        if self._recorder:
            self._recorder.stop()
        self.process.stop()


class Moto(LocalAws):
    """All of AWS that is needed, as moto imitates it: no throttling, sizes or SSM events of its own."""

    name = "moto"

    @classmethod
    def start(cls, directory: Path, *, keep: bool = False) -> Self:
        """Starts it on a free port; its log goes to `directory`."""
        port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
        return cls._start(command, port, directory, keep)

    def reset(self) -> None:
        """Throws away all data, and what was recorded."""
        connection = http.client.HTTPConnection(self.direct_endpoint.removeprefix("http://"), timeout=60)
        connection.request("POST", "/moto-api/reset")
        if connection.getresponse().status != http.client.OK:
            raise RuntimeError("moto refused to be reset")
        connection.close()
        if self._recorder:
            self.reset_calls()


class DynamoDBLocal(LocalAws):
    """Amazon's own DynamoDB for one machine, in memory, with real conditional writes and Streams."""

    name = "dynamodb-local"

    @classmethod
    def available(cls) -> bool:
        """Whether `make setup` could bring it."""
        return dynamodb_local.available()

    @classmethod
    def start(cls, directory: Path, *, keep: bool = False) -> Self:
        """Starts it on a free port; its log goes to `directory`."""
        java, jars, port = dynamodb_local.java(), dynamodb_local.jars(), free_port()
        if java is None or not jars.exists():
            raise FileNotFoundError("DynamoDB Local is not there: run `make setup` where Maven is")
        main = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
        # -sharedDb: one database whatever the region and credentials.
        command = [java, f"-Djava.library.path={jars}", "-cp", f"{jars}/*", main]
        command += ["-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
        return cls._start(command, port, directory, keep)


def create_table(client: Any, name: str) -> None:
    """A table as the dynamodb store wants it: strings `pk` and `sk`, and a stream of old and new images."""
    client.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def _listening(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
