"""`llmgateway chat`: a conversation, line by line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TextIO

import typer

from llmgateway import Client, GatewayError, Reply
from llmgateway.events import PartStarted, ReasoningDelta, StreamEvent, TextDelta, ToolArgumentsDelta
from llmgateway.messages import messages
from llmgateway.v1 import message_pb2, reply_pb2
from llmgateway_server.cli.complete import WHOLE, document, figures
from llmgateway_server.cli.problems import Problem
from llmgateway_server.cli.remote import Remote, problem_of, sent, write_json
from llmgateway_server.cli.terminal import Screen

PROMPT = "> "
HELP = """\
/model NAME   ask another model from now on; without a name: the gateway's default
/system TEXT  instructions from now on; without a text: none
/clear        forget the conversation
/help         this list
/quit         end, as Ctrl-D does
//TEXT        say a text that begins with a slash
Ctrl-C ends an answer, not the conversation."""
NO_TOOL = "This conversation has no tools."


class Painter:
    """Shows the events of a reply as they come: the answer as it is, reasoning and calls of tools dim."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._styles: dict[int, dict[str, object]] = {}
        self._current = -1

    def take(self, event: StreamEvent) -> None:
        """Shows an event, if there is something to show."""
        match event:
            case PartStarted():
                self._styles[event.part_index] = STYLES.get(event.kind, {})
                if event.tool_name:
                    self._write(event.part_index, f"{event.tool_name} ")
            case TextDelta() | ReasoningDelta():
                self._write(event.part_index, event.text)
            case ToolArgumentsDelta():
                self._write(event.part_index, event.arguments_json)

    def _write(self, part: int, text: str) -> None:
        if part != self._current:
            self._screen.end_line()
            self._current = part
        self._screen.write(text, **self._styles.get(part, {}))


STYLES: Mapping[int, dict[str, object]] = MappingProxyType(
    {
        reply_pb2.PART_KIND_REASONING: {"dim": True},
        reply_pb2.PART_KIND_TOOL_CALL: {"dim": True, "fg": "cyan"},
        reply_pb2.PART_KIND_REFUSAL: {"fg": "yellow"},
    }
)


class Chat:
    """A conversation with a gateway.

    Args:
        client: of the gateway.
        model: asked first. Empty: the gateway's default.
        system: instructions. Empty: none.
        timeout_s: seconds for an answer. None: the client's.
        output: gets the answers; figures stand below them.
        as_json: one JSON document on a line for each answer instead.
    """

    def __init__(
        self, client: Client, model: str, system: str, timeout_s: float | None, output: TextIO, *, as_json: bool
    ) -> None:
        self._client = client
        self._model = model
        self._system = system
        self._timeout_s = timeout_s
        self._output = output
        self._screen = Screen(output)
        self._as_json = as_json
        self._history: list[message_pb2.Message] = []
        self._ended = False
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self._note(HELP),
            "/model": self._set_model,
            "/system": self._set_system,
            "/clear": self._clear,
            "/quit": self._quit,
        }

    def run(self) -> None:
        """Talks until the end of standard input or `/quit`. Without a person at it, the first failure is its end.

        Raises:
            Problem: a call failed and nobody is there to go on.
        """
        person = sys.stdin.isatty()
        prompt = PROMPT if person and self._screen.terminal else ""
        while not self._ended:
            try:
                words = input(prompt).strip()
                if words:
                    self._take(sent(words, "the line"))
            except EOFError:
                if prompt:
                    self._screen.line()
                return
            except KeyboardInterrupt:
                if not person:
                    raise
                self._screen.line()
                self._note("Ctrl-D or /quit ends.")
            except ValueError:
                if not person:
                    raise
                self._note("that holds bytes that are no text; nothing was sent")
            except GatewayError as error:
                self._screen.end_line()
                self._failed(problem_of(error, self._client.target), person=person)
            except Problem as problem:
                self._failed(problem, person=person)

    def _failed(self, problem: Problem, *, person: bool) -> None:
        if not person:
            raise problem from None
        problem.tell(as_json=self._as_json)

    def _take(self, words: str) -> None:
        if words.startswith("//"):
            self._ask(words[1:])
        elif words.startswith("/"):
            name, _, rest = words.partition(" ")
            self._commands.get(name, self._unknown)(rest.strip())
        else:
            self._ask(words)

    def _ask(self, words: str) -> None:
        """Makes a turn; one that fails or is left is not remembered, as if it had never been."""
        asked = messages(words)
        painter = Painter(self._screen)
        stream = self._client.stream(
            self._model, [*self._history, *asked], system=self._system or None, timeout=self._timeout_s
        )
        try:
            with stream:
                for event in stream:
                    if not self._as_json:
                        painter.take(event)
                reply = stream.reply()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            self._screen.line()
            self._note("cancelled; this turn is forgotten")
            return
        # vendors refuse a conversation in which a call stays without an answer
        unanswered = [call.result(NO_TOOL, is_error=True) for call in reply.tool_calls]
        self._history += [*asked, reply.message, *unanswered]
        self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        if self._as_json:
            write_json(document(reply), self._output, indent=None)
            return
        early = [] if reply.finish_reason in WHOLE else [f"ended early: {reply.finish_reason}"]
        self._screen.line(" · ".join([*figures(reply), *early]), dim=True)

    def _set_model(self, name: str) -> None:
        self._model = name
        self._note(f"model: {name or 'the default of the gateway'}")

    def _set_system(self, text: str) -> None:
        self._system = text
        self._note("instructions are set" if text else "no instructions")

    def _clear(self, _: str) -> None:
        self._history.clear()
        self._note("the conversation is forgotten")

    def _quit(self, _: str) -> None:
        self._ended = True

    def _unknown(self, _: str) -> None:
        self._note("there is no such command; /help lists them")

    def _note(self, text: str) -> None:
        """Says something that is no answer; programs do not want it."""
        if self._screen.terminal and not self._as_json:
            self._screen.line(text, dim=True)
        else:
            typer.echo(text, err=True)


def run(remote: Remote, model: str, system: str, output: TextIO, *, as_json: bool) -> None:
    """Holds a conversation over standard input and `output`.

    Raises:
        Problem: the client cannot be made, or a call failed and nobody is there to go on.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # lets `input` edit lines and remember them, in memory alone
    with remote.client() as client:
        chat = Chat(client, model, system, remote.timeout_s, output, as_json=as_json)
        if sys.stdin.isatty() and not as_json:
            typer.secho(f"{client.target}: /help for commands, Ctrl-D to end", err=True, dim=True)
        chat.run()
