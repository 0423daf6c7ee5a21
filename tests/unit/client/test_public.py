"""What the distribution offers, and what it stands on."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import llmgateway
from llmgateway import AdminClient, AsyncAdminClient, AsyncClient, Client

CLIENT = Path(__file__).parents[3] / "clients" / "python"
OFFERED = {
    "Aborted",
    "AdminClient",
    "AsyncAdminClient",
    "AsyncClient",
    "AsyncStream",
    "BrokenStream",
    "Cancelled",
    "Client",
    "ContentBlocked",
    "DeadlineExceeded",
    "Embeddings",
    "FailedPrecondition",
    "GatewayError",
    "InternalError",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "QuotaExhausted",
    "RateLimited",
    "Reply",
    "ResourceExhausted",
    "Stream",
    "StreamInterrupted",
    "ToolCall",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "UpstreamFailed",
    "Violation",
    "__version__",
    "media",
}
ALLOWED = ("llmgateway", "grpc", "google", "typing_extensions")
ALONE = f"""
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {ALLOWED!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Block())
sys.path.insert(0, {str(CLIENT)!r})
import llmgateway
from llmgateway.channel import published_service_config
published_service_config()
with llmgateway.Client("localhost:1") as client:
    try:
        client.complete("m", "Hi", timeout=5)
    except llmgateway.Unavailable:
        print(llmgateway.__file__)
assert not any(name.startswith(("llmgateway_server", "grpc_status")) for name in sys.modules)
"""


def test_it_stands_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(CLIENT / "llmgateway" / "__init__.py")


def test_what_it_offers() -> None:
    assert set(llmgateway.__all__) == OFFERED
    assert all(hasattr(llmgateway, name) for name in llmgateway.__all__)


def public(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


@pytest.mark.parametrize(("kind", "async_kind"), [(Client, AsyncClient), (AdminClient, AsyncAdminClient)])
def test_both_clients_have_the_same_methods(kind: type, async_kind: type) -> None:
    blocking, awaited = public(kind), public(async_kind)
    assert blocking.keys() == awaited.keys()
    assert all(blocking[name].parameters == awaited[name].parameters for name in blocking)


def test_the_package_says_what_it_needs() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == llmgateway.__version__
    names = {re.split(r"[^a-z0-9-]", each)[0] for each in project["dependencies"]}
    assert names == {"grpcio", "protobuf", "googleapis-common-protos"}
    assert (CLIENT / "llmgateway" / "py.typed").exists()


def test_modules_are_small() -> None:
    sizes = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in CLIENT.glob("llmgateway/*.py")}
    assert {name: size for name, size in sizes.items() if size > 250} == {}
