"""`llmgateway complete`: one question, one answer."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from llmgateway import Client, Reply, media
from llmgateway.requests import CompleteOptions
from llmgateway.v1 import message_pb2
from llmgateway_server.cli.problems import refuse
from llmgateway_server.cli.remote import Remote, json_of, lines_of_stdin, sent, write_json
from llmgateway_server.cli.terminal import Screen, working

STDIN = "-"
MOST_WORDS = 2
WHOLE = frozenset({"STOP", "TOOL_CALLS"})
"""Finish reasons of answers that nothing cut off."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    model: str
    """Empty: the gateway's default."""
    parts: tuple[str | message_pb2.Part, ...]
    options: CompleteOptions = field(default_factory=CompleteOptions)


def question(
    words: Sequence[str], *, schema: Path | None = None, images: Sequence[Path] = (), options: CompleteOptions
) -> Question:
    """Makes the question of the arguments.

    Args:
        words: model and prompt; one alone is the prompt. The prompt `-`, or nothing at all, means standard input.
        schema: file with a JSON Schema for the answer.
        images: files; the ending of the name tells the type.
        options: of the completion.

    Raises:
        Problem: something cannot be used.
    """
    if len(words) > MOST_WORDS:
        refuse("give a model and a prompt, or the prompt alone: quote a prompt of several words")
    model, prompt = ("", STDIN, *words)[-2:] if len(words) != 1 else ("", words[0])
    text = lines_of_stdin() if prompt == STDIN else sent(prompt, "the prompt")
    if not text.strip() and not images:
        refuse("the prompt is empty")
    wanted = CompleteOptions(**options)
    if schema is not None:
        wanted["response_format"] = _schema(schema)
    return Question(model, (text, *map(_image, images)), wanted)


def run(
    remote: Remote, asked: Question, output: TextIO, errors: TextIO, *, stream: bool, as_json: bool, verbose: bool
) -> None:
    """Asks, and writes the text alone, or the whole reply as JSON.

    Args:
        remote: the gateway.
        asked: the question.
        output: gets the answer.
        errors: gets everything about it.
        stream: write pieces as they come; JSON is written in the end all the same.
        as_json: the reply as protobuf's JSON, and its `text`.
        verbose: say who answered, tokens, cost and times.

    Raises:
        Problem: the call failed.
    """
    screen, notes = Screen(output), Screen(errors)
    with remote.client() as client:
        try:
            reply = (_streamed if stream else _whole)(client, asked, remote.timeout_s, None if as_json else screen)
        finally:
            screen.end_line()
    if as_json:
        write_json(document(reply), output)
        return
    if reply.refusal:
        notes.line(f"llmgateway: the model declined: {reply.refusal}", fg="yellow")
    if reply.finish_reason not in WHOLE:
        notes.line(f"llmgateway: the answer ended early: {reply.finish_reason}", fg="yellow")
    if verbose:
        target = reply.raw.target
        notes.line(
            " · ".join([f"{target.provider}/{target.upstream_model}", *figures(reply), f"request {reply.request_id}"]),
            dim=True,
        )


def document(reply: Reply) -> dict[str, Any]:
    """Returns a reply as JSON: everything that the contract has, and the text in one piece."""
    return {"text": reply.text, **json_of(reply.raw)}


def figures(reply: Reply) -> list[str]:
    """Returns tokens, cost and times of a reply, for people."""
    usage, timings, cost = reply.usage, reply.raw.timings, reply.cost_usd
    first = timings.HasField("time_to_first_token_us")
    return [
        f"{usage.input_token_count} + {usage.output_token_count} tokens",
        "no price known" if cost is None else f"${cost.normalize():f}",
        *([f"first token {_seconds(timings.time_to_first_token_us)}"] if first else []),
        _seconds(timings.total_us),
    ]


def _seconds(microseconds: int) -> str:
    seconds = microseconds / 1e6
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.3f} s"


def _whole(client: Client, asked: Question, timeout_s: float | None, screen: Screen | None) -> Reply:
    with working("waiting for the answer"):
        reply = client.complete(asked.model, ("user", asked.parts), timeout=timeout_s, **asked.options)
    if screen is not None:
        screen.write(reply.text)
    return reply


def _streamed(client: Client, asked: Question, timeout_s: float | None, screen: Screen | None) -> Reply:
    with client.stream(asked.model, ("user", asked.parts), timeout=timeout_s, **asked.options) as stream:
        for piece in stream.text:
            if screen is not None:
                screen.write(piece)
        return stream.reply()


def _schema(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        refuse(f"--schema: {error.strerror or 'it cannot be read'}")
    except ValueError:
        refuse("--schema: the file is not JSON")
    if not isinstance(found, dict):
        refuse("--schema: the file holds no JSON object")
    return found


def _image(path: Path) -> message_pb2.Part:
    kind = mimetypes.guess_type(path.name)[0] or ""
    if not kind.startswith("image/"):
        refuse(f"--image: the name of {path.name} does not end like that of an image, for example .png")
    try:
        return media(data=path.read_bytes(), mime_type=kind, filename=path.name)
    except OSError as error:
        refuse(f"--image: {error.strerror or 'it cannot be read'}")
