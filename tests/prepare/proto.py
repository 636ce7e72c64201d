"""Generates Python and type stubs from watch.proto; with --check, only says whether they are fresh and clean."""

import subprocess
import sys
import tempfile
from pathlib import Path

from prepare.store import ROOT, VENV

SOURCE_ROOT = ROOT / "operator"
PROTO = Path("tenantconfig/watch/v1/watch.proto")


def generate(target: Path) -> list[Path]:
    """Writes the generated files below `target` and returns their paths in it."""
    plugins = [f"--plugin=protoc-gen-{name}={VENV / 'bin' / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={SOURCE_ROOT}", *plugins, *outputs]
    subprocess.run([*command, str(PROTO)], check=True, stderr=subprocess.DEVNULL)
    return sorted(file.relative_to(target) for file in (target / PROTO.parent).glob("watch_pb2*"))


def check() -> list[str]:
    """What is wrong with the proto and what was generated from it."""
    problems = []
    with tempfile.TemporaryDirectory() as directory:
        for file in generate(Path(directory)):
            committed = SOURCE_ROOT / file
            if not committed.exists() or committed.read_bytes() != (Path(directory) / file).read_bytes():
                problems.append(f"operator/{file} is not what watch.proto gives: run `make proto`")
    lint = subprocess.run([VENV / "bin" / "buf", "lint", "operator"], cwd=ROOT, capture_output=True, text=True)
    if lint.returncode:
        problems.append(f"buf lint: {lint.stdout}{lint.stderr}".rstrip())
    return problems


def main() -> int:
    """Generates, or checks."""
    if not (SOURCE_ROOT / PROTO).exists():
        print(f"there is no operator/{PROTO}", file=sys.stderr)
        return 1
    if "--check" not in sys.argv[1:]:
        generate(SOURCE_ROOT)
        return 0
    problems = check()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
