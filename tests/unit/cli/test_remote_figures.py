import json
import struct

from tests.unit.cli.remote_kit import invoke, quiet_gateway


async def test_vectors() -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "embed", "simulator/embed", "a b", "c", "--dimensions", "8")
        piped = await invoke(gateway, "embed", "simulator/embed", "--dimensions", "8", "--json", stdin="a b\n\nc\n")
        empty = await invoke(gateway, "embed", "simulator/embed", stdin="\n")
    vectors = json.loads(done.stdout)
    assert [len(vector) for vector in vectors] == [8, 8]
    assert piped.stdout == done.stdout
    assert all(len(repr(value)) < 16 for vector in vectors for value in vector), "no digits beyond single precision"
    assert struct.pack("<8f", *vectors[0])
    assert (empty.exit_code, empty.stdout) == (2, "")


async def test_health() -> None:
    async with quiet_gateway() as gateway:
        await invoke(gateway, "complete", "hi")
        shown = await invoke(gateway, "health")
        made = await invoke(gateway, "health", "--provider", "simulator", "--json")
        unknown = await invoke(gateway, "health", "--provider", "nobody")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("gateway  HEALTHY  version ")
    assert lines[2].split()[:5] == ["simulator", "simulator", "HEALTHY", "1", "100.0%"]
    found = json.loads(made.stdout)
    assert (found["status"], found["draining"]) == ("HEALTH_STATUS_HEALTHY", False)
    assert unknown.exit_code == 3


async def test_a_provider_that_does_not_work() -> None:
    async with quiet_gateway() as gateway:
        for _ in range(12):
            await invoke(gateway, "complete", "simulator/chat?fault=http&status=500", "hi")
        done = await invoke(gateway, "health", "--provider", "simulator")
    assert "UNHEALTHY" in done.stdout
    assert done.exit_code == 1


async def test_stats_begin_anew() -> None:
    async with quiet_gateway() as gateway:
        await invoke(gateway, "complete", "hi there")
        narrow = await invoke(gateway, "stats", "--reset", "--period", "hour")
        done = await invoke(gateway, "stats", "--reset")
        made = await invoke(gateway, "stats", "--reset", "--json")
        after = await invoke(gateway, "stats", "--json")
    assert (narrow.exit_code, narrow.stdout) == (2, "")
    assert (done.exit_code, made.exit_code) == (0, 0)
    assert done.stdout.startswith("calls forgotten: 1, counted over ")
    assert json.loads(made.stdout)["forgotten_call_count"] == "0"
    assert json.loads(after.stdout)["calls"]["call_count"] == "0"


async def test_stats() -> None:
    async with quiet_gateway() as gateway:
        nothing = await invoke(gateway, "stats")
        await invoke(gateway, "complete", "hi there")
        shown = await invoke(gateway, "stats", "--period", "hour")
        made = await invoke(gateway, "stats", "--json")
        one = await invoke(gateway, "stats", "--provider", "simulator")
        wrong = await invoke(gateway, "stats", "--period", "year")
    assert (nothing.exit_code, shown.exit_code, wrong.exit_code) == (0, 0, 2)
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.stdout.splitlines() if line}
    assert rows["calls"] == "1: 1 succeeded, 0 failed, 0 turned away, 0 cancelled"
    assert rows["tokens"] == "2 in, 4 out"
    assert rows["cost"] == "$0.0000027"
    assert rows["simulator"].startswith("1 100.0% ")
    assert rows["simulator-chat"].endswith("2 4 $0.0000027")
    assert json.loads(made.stdout)["calls"]["call_count"] == "1"
    assert "calls" not in one.stdout
