import json

from tests.unit.cli.remote_kit import invoke, quiet_gateway


async def chat(script: str, *arguments: str) -> tuple[int, list[str], str]:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "chat", *arguments, stdin=script)
    return done.exit_code, done.stdout.splitlines(), done.stderr


async def test_turns_and_their_figures() -> None:
    code, lines, errors = await chat("one\n\ntwo\n")
    assert (code, errors) == (0, "")
    assert lines[::2] == ["You said: one", "You said: two"]
    assert lines[1].startswith("1 + 3 tokens · $0.0")
    assert lines[3].startswith("5 + 3 tokens · $0.0"), "the first turn and its answer are sent again"


async def test_commands() -> None:
    script = (
        "/model simulator/chat?tokens=2\nhi\n/model\n/clear\n/system Be brief\n//etc\n/nothing\n/help\n/quit\nnever\n"
    )
    code, lines, errors = await chat(script)
    assert code == 0
    assert [line.strip() for line in lines[::2]] == ["the gateway", "You said: /etc"]
    assert lines[3].startswith("3 + 3 tokens"), "instructions are sent, what is forgotten is not"
    assert "model: simulator/chat?tokens=2" in errors
    assert "there is no such command" in errors
    assert "/quit" in errors


async def test_json_is_one_line_for_each_answer() -> None:
    code, lines, _ = await chat("one\ntwo\n", "simulator-chat", "--json")
    assert code == 0
    assert [json.loads(line)["text"] for line in lines] == ["You said: one", "You said: two"]


async def test_reasoning_and_tools_are_shown_and_the_conversation_goes_on() -> None:
    code, lines, _ = await chat("one\ntwo\n", "simulator/chat?text=ok&reasoning=2&tools=1")
    assert code == 0
    assert [line.strip() for line in lines[:2]] == ["first I", "ok"]
    assert lines[2].startswith("lookup {")
    assert len(lines) == 8


async def test_a_pipe_ends_with_its_first_failure() -> None:
    code, lines, errors = await chat("/model simulator/chat?tokens=9&fault=cut&at=2\none\ntwo\n")
    assert code == 1
    assert [line.strip() for line in lines] == ["the gateway"]
    assert errors.count("UPSTREAM_STREAM_INTERRUPTED: ") == 1
