"""Generates what is derived from `protos/`, or with `--check` tells what would change.

    protos/ + third_party/protos/ ─ buf build ─► image ┬► server/…/contract/descriptors.binpb  with the validation rules
                                                       └► without the rules ┬► clients/llmgateway.protoset
                                                                            └► clients/python/llmgateway/{v1,…}/

The server validates from the first. Client stubs carry no rules and need no package but grpcio and protobuf.
Nothing is downloaded.
"""

import argparse
import filecmp
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
"""buf and the protoc plugins are installed beside the interpreter that runs this."""

PACKAGE = "llmgateway"
RULES = "buf.validate"
RULES_FILE = "buf/validate/validate.proto"
DETAILS_FILE = "google/rpc/error_details.proto"
"""What statuses carry: no proto of ours imports it, but who reads them from the protoset needs it."""

CLIENT = Path("clients/python")
DESCRIPTORS = Path("server/llmgateway_server/contract/descriptors.binpb")
PROTOSET = Path("clients/llmgateway.protoset")

FIELD_DEPENDENCY, FIELD_PUBLIC_DEPENDENCY, FIELD_WEAK_DEPENDENCY = 3, 10, 11
"""Field numbers of FileDescriptorProto, as they begin a path in source_code_info."""


def run(*command: str | Path) -> None:
    """Runs one tool in the repository; its own message explains a failure."""
    if subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode:
        sys.exit(f"generate: {Path(command[0]).name} failed")


def build_image(path: Path, *, source_info: bool) -> None:
    """Compiles every proto into one self-contained FileDescriptorSet."""
    flags = [] if source_info else ["--exclude-source-info"]
    run(TOOLS / "buf", "build", "--as-file-descriptor-set", *flags, "-o", path)


def parse_with_extensions(image: bytes) -> Any:
    """Parses an image so that the custom options defined inside it are known extensions, not unknown bytes."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(image).file:
        pool.Add(file)
    known = pool.FindMessageTypeByName("google.protobuf.FileDescriptorSet")
    return message_factory.GetMessageClass(known).FromString(image)


def options_of(scope: Any) -> Iterator[Any]:
    """Yields every options message at or below a file or message descriptor that rules may be written on."""
    messages = scope.message_type if hasattr(scope, "message_type") else scope.nested_type
    yield from (item.options for item in scope.extension if item.HasField("options"))
    for message in messages:
        for item in (message, *message.field, *message.oneof_decl):
            if item.HasField("options"):
                yield item.options
        yield from options_of(message)


def remove_rules(files: Any) -> set[int]:
    """Clears every rule, with options messages that held nothing else; returns the numbers of the options removed."""
    numbers: set[int] = set()
    for file in files:
        for options in options_of(file):
            for extension, _ in options.ListFields():
                if extension.is_extension and extension.full_name.startswith(f"{RULES}."):
                    options.ClearExtension(extension)
                    numbers.add(extension.number)
        drop_empty_options(file)
    return numbers


def drop_empty_options(scope: Any) -> None:
    """Removes options messages left without a field, as if nobody had written one."""
    messages = scope.message_type if hasattr(scope, "message_type") else scope.nested_type
    for message in messages:
        for item in (message, *message.field, *message.oneof_decl):
            if item.HasField("options") and not item.options.ByteSize():
                item.ClearField("options")
        drop_empty_options(message)


def remove_import(file: Any, name: str) -> None:
    """Removes one import of a file and moves the indexes that point behind it."""
    if name not in file.dependency:
        return
    gone = list(file.dependency).index(name)
    del file.dependency[gone]
    for indexes in (file.public_dependency, file.weak_dependency):
        indexes[:] = [index - (index > gone) for index in indexes if index != gone]


def keep_comments(file: Any, removed_options: set[int]) -> None:
    """Keeps the source locations that hold a comment on something that is still there; positions are of no use."""
    imports = {FIELD_DEPENDENCY, FIELD_PUBLIC_DEPENDENCY, FIELD_WEAK_DEPENDENCY}
    kept = [
        location
        for location in file.source_code_info.location
        if (location.leading_comments or location.trailing_comments or location.leading_detached_comments)
        and not (location.path and location.path[0] in imports)
        and not removed_options.intersection(location.path)
    ]
    file.source_code_info.ClearField("location")
    file.source_code_info.location.extend(kept)


def without_rules(image: bytes) -> tuple[bytes, list[str]]:
    """Returns the image of our protos and what they import, less every rule, and the names of our protos."""
    descriptor_set = parse_with_extensions(image)
    by_name = {file.name: file for file in descriptor_set.file}
    ours = sorted(name for name in by_name if name.startswith(f"{PACKAGE}/"))
    removed = remove_rules(by_name[name] for name in ours)
    reachable: set[str] = set()
    waiting = [*ours, DETAILS_FILE]
    while waiting:
        file = by_name[waiting.pop()]
        if file.name not in reachable:
            reachable.add(file.name)
            remove_import(file, RULES_FILE)
            waiting.extend(file.dependency)
    stripped = type(descriptor_set)()
    for file in descriptor_set.file:
        if file.name in reachable:
            keep_comments(file, removed)
            stripped.file.append(file)
    data: bytes = stripped.SerializeToString(deterministic=True)
    if RULES.encode() in data:
        sys.exit(f"generate: {RULES} is still used in what should be free of it")
    return data, ours


def generate_python(descriptor_set: Path, names: list[str], out: Path) -> None:
    """Writes modules and documented type stubs for our protos, each folder a package."""
    out.mkdir(parents=True, exist_ok=True)
    run(
        sys.executable, "-m", "grpc_tools.protoc",
        f"--descriptor_set_in={descriptor_set}",
        f"--plugin=protoc-gen-mypy={TOOLS / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={TOOLS / 'protoc-gen-mypy_grpc'}",
        f"--python_out={out}", f"--grpc_python_out={out}", f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=quiet:{out}",
        *names,
    )  # fmt: skip
    for path in out.rglob("*_pb2_grpc.py"):
        if "_to_server(" not in path.read_text():  # protoc makes one for every proto, service or not
            path.unlink()
            path.with_suffix(".pyi").unlink()
    folders = {parent for name in names for parent in PurePosixPath(name).parents if len(parent.parts) > 1}
    for folder in folders:
        package = ".".join(folder.parts)
        (out / folder / "__init__.py").write_text(f'"""Generated stubs of the proto package `{package}`."""\n')


def generate(out: Path) -> list[Path]:
    """Writes everything below `out`; returns the files and folders that it owns, relative to it."""
    for path in (DESCRIPTORS, PROTOSET):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
    build_image(out / DESCRIPTORS, source_info=False)
    build_image(out / PROTOSET, source_info=True)
    data, names = without_rules((out / PROTOSET).read_bytes())
    (out / PROTOSET).write_bytes(data)
    generate_python(out / PROTOSET, names, out / CLIENT)
    earlier = [path.relative_to(ROOT / CLIENT) for path in (ROOT / CLIENT / PACKAGE).glob("*/**/*_pb2.py")]
    folders = {CLIENT.joinpath(*path.parts[:2]) for path in (*map(PurePosixPath, names), *earlier)}
    return [DESCRIPTORS, PROTOSET, *sorted(folders)]


def files_below(path: Path) -> set[Path]:
    """Lists files at or below a path, without caches."""
    found = [path] if path.is_file() else path.rglob("*")
    return {file for file in found if file.is_file() and "__pycache__" not in file.parts}


def differences(made: Path, owned: list[Path]) -> list[str]:
    """Compares what was made with what is committed, byte by byte."""
    result = []
    for path in owned:
        new = {file.relative_to(made) for file in files_below(made / path)}
        old = {file.relative_to(ROOT) for file in files_below(ROOT / path)}
        result += [f"missing  {file}" for file in sorted(new - old)]
        result += [f"obsolete {file}" for file in sorted(old - new)]
        result += [
            f"changed  {file}" for file in sorted(new & old) if not filecmp.cmp(made / file, ROOT / file, shallow=False)
        ]
    return result


def wrong_floors(made: Path) -> list[str]:
    """Compares the versions that generated modules insist on with the lower bounds of both distributions."""
    text = "\n".join(path.read_text() for path in sorted(made.rglob("*_pb2*.py")))
    grpcio = set(re.findall(r"GRPC_GENERATED_VERSION = '([\d.]+)'", text))
    protobuf = {".".join(found) for found in re.findall(r"Domain\.PUBLIC,\s+(\d+),\s+(\d+),\s+(\d+)", text)}
    wanted = {f"grpcio>={version}" for version in grpcio} | {f"protobuf>={version}" for version in protobuf}
    result = []
    for path in (Path("pyproject.toml"), CLIENT / "pyproject.toml"):
        dependencies = tomllib.loads((ROOT / path).read_text())["project"]["dependencies"]
        result += [f"{path} lacks the dependency {bound}" for bound in sorted(wanted - set(dependencies))]
    return result


def replace(made: Path, owned: list[Path]) -> None:
    """Puts what was made in the place of what stood there."""
    for path in owned:
        target = ROOT / path
        if target.is_dir():
            shutil.rmtree(target)
        if (made / path).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(made / path, target)


def main() -> None:
    """Generates, or checks that generating would change nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if anything would change")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        owned = generate(made)
        problems = wrong_floors(made)
        if check:
            problems += differences(made, owned)
        else:
            replace(made, owned)
    if problems:
        sys.exit("\n".join([*problems, "generate: run `make generate`" if check else "generate: correct the bounds"]))
    print("generated code is up to date" if check else f"generated {', '.join(map(str, owned))}")


if __name__ == "__main__":
    main()
