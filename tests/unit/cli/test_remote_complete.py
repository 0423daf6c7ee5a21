import json
from pathlib import Path

import pytest

from tests.unit.cli.remote_kit import invoke, quiet_gateway

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


@pytest.mark.parametrize("form", [[], ["--no-stream"], ["--stream"]], ids=["default", "whole", "streamed"])
async def test_the_text_alone(form: list[str]) -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", "simulator-chat", "hi there", *form)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "You said: hi there\n", "")


@pytest.mark.parametrize("words", [[], ["-"], ["simulator-chat", "-"]], ids=["nothing", "dash", "model and dash"])
async def test_the_prompt_comes_from_standard_input(words: list[str]) -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", *words, stdin="from a pipe")
    assert (done.exit_code, done.stdout) == (0, "You said: from a pipe\n")


async def test_one_word_alone_is_the_prompt() -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", "simulator-chat")
    assert done.stdout == "You said: simulator-chat\n"


async def test_verbose_says_who_answered_and_what_it_took() -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", "hi there", "--verbose")
    assert done.stdout == "You said: hi there\n"
    assert done.stderr.startswith("simulator/chat · 2 + 4 tokens · $0.0000027 · ")
    assert " s · request " in done.stderr


@pytest.mark.parametrize("form", ["--no-stream", "--stream"])
async def test_json_is_the_whole_reply(form: str) -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", "hi", "--json", form)
    found = json.loads(done.stdout)
    assert found["text"] == "You said: hi"
    assert found["usage"]["output_token_count"] == "3"
    assert found["target"]["provider"] == "simulator"
    assert found["cost"]["total"]["usd"]
    assert int(found["timings"]["total_us"]) > 0


async def test_options_reach_the_gateway(tmp_path: Path) -> None:
    schema, image = tmp_path / "schema.json", tmp_path / "cat.png"
    schema.write_text('{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}')
    image.write_bytes(PNG)
    async with quiet_gateway() as gateway:
        made = await invoke(gateway, "complete", "a city?", "--schema", str(schema), "--system", "Be brief.")
        seen = await invoke(gateway, "complete", "what?", "--image", str(image), "--temperature", "0.5")
        cut = await invoke(gateway, "complete", "simulator/chat?tokens=9", "hi", "--max-tokens", "2")
        refused = await invoke(gateway, "complete", "hi", "--temperature", "99")
    assert isinstance(json.loads(made.stdout)["name"], str)
    assert seen.exit_code == 0, seen.stderr
    assert (cut.stdout.split(), cut.exit_code) == (["the", "gateway"], 0)
    assert "ended early: LENGTH" in cut.stderr
    assert refused.exit_code == 3
    assert "temperature" in refused.stderr


async def test_a_model_that_declines() -> None:
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", "simulator/chat?fault=refusal", "hi")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "the model declined: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "b", "c"], "quote a prompt"),
        (["hi", "--schema", "missing.json"], "--schema: No such file"),
        (["hi", "--schema", "text.json"], "--schema: the file is not JSON"),
        (["hi", "--schema", "list.json"], "--schema: the file holds no JSON object"),
        (["hi", "--image", "missing.png"], "--image: No such file"),
        (["hi", "--image", "text.json"], "--image: the name of text.json"),
        (["hi", "--ca", "missing.pem"], "--ca: No such file"),
    ],
)
async def test_mistakes_of_the_caller(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.json").write_text("words")
    (tmp_path / "list.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    async with quiet_gateway() as gateway:
        done = await invoke(gateway, "complete", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
