"""Keys of a provider through a whole gateway: several of them, and one in a file that changes."""

from __future__ import annotations

from pathlib import Path

from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import Upstream, answer, json_answer
from tests.faults.kit import ask


def keys_seen(upstream: Upstream) -> list[str]:
    return [received.headers["authorization"] for received in upstream.requests]


async def test_a_changed_key_file_is_used_by_the_next_attempt(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("first\n")
    async with Upstream(answer("hi")) as upstream:
        providers = {"up": upstream.provider() | {"api_key": f"file:{path}"}}
        async with running_gateway({"providers": providers}) as gateway:
            await gateway.stub.Complete(ask())
            path.write_text("second\n")
            await gateway.stub.Complete(ask())
    assert keys_seen(upstream) == ["Bearer first", "Bearer second"]


async def test_several_keys_take_turns() -> None:
    async with Upstream(answer("hi")) as upstream:
        providers = {"up": upstream.provider() | {"api_keys": ["one", "two"]}}
        async with running_gateway({"providers": providers}) as gateway:
            for _ in range(3):
                await gateway.stub.Complete(ask())
            records = [each["key_id"] for each in gateway.records() if each["record"] == "attempt"]
    assert keys_seen(upstream) == ["Bearer one", "Bearer two", "Bearer one"]
    assert records == ["key-1", "key-2", "key-1"]


async def test_two_accounts_of_a_vendor_stand_in_for_each_other() -> None:
    """Their public names are one model with two targets."""
    failed = json_answer({"error": {"type": "server_error"}}, 500)
    async with Upstream(failed) as broken, Upstream(answer("hi")) as well:
        accounts = {"a": broken, "b": well}
        providers = {
            name: {"vendor": "openai", "base_url": each.base_url, "api_key": name} for name, each in accounts.items()
        }
        async with running_gateway({"providers": providers}) as gateway:
            reply = await gateway.stub.Complete(ask(model="gpt-4o"))
    assert reply.target.provider == "b"
    assert [each.target.provider for each in reply.attempts] == ["a", "b"]
