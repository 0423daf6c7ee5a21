"""The command in a real terminal and outside of one: what its output looks like, and what streams do to it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmgateway import Client
from tests.e2e.kit import EXIT_S, Served, command, environment, run, serving, write_config
from tests.e2e.screen import COLOUR, terminal

pytestmark = pytest.mark.e2e

ESCAPE = "\x1b"
NARROW = 80
MANY_MODELS: dict[str, Any] = {"OPENAI_API_KEY": "sk-e2e-never-used", "ANTHROPIC_API_KEY": "sk-e2e-never-used"}
SLOW = "simulator/chat?tokens=200&pace_ms=50"
LATE = "simulator/chat?first_token_ms=15000"
SHELL_S = 30.0
COMMAND = shlex.join(command())


def shell(line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a line in bash, where `llmgateway` is the command."""
    return subprocess.run(
        ["bash", "-c", f'llmgateway() {{ {COMMAND} "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        timeout=SHELL_S,
        env=environment(**more),
        check=False,
    )


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway with something to count, and a model with a colon in its name."""
    folder = tmp_path_factory.mktemp("used")
    models = "models: {'my:big': {targets: [{provider: simulator, model: chat}]}}"
    with serving(folder, "--config", str(write_config(folder, models))) as served:
        with Client(served.address) as client:
            client.complete("simulator/chat?tokens=300", "hi")
        yield served


@pytest.mark.parametrize("arguments", [["models"], ["health"], ["stats"], ["stats", "--period", "day"], ["path"]])
def test_a_narrow_terminal_gets_whole_rows_in_colour(used: Served, arguments: list[str]) -> None:
    with terminal(*arguments, columns=NARROW, LLMGATEWAY_TARGET=used.address, **MANY_MODELS) as shown:
        assert shown.end() == 0, shown.seen
    assert COLOUR.search(shown.seen)
    if arguments != ["path"]:
        assert max(map(len, shown.lines)) <= NARROW, shown.lines
    piped = run(command(*arguments), LLMGATEWAY_TARGET=used.address, **MANY_MODELS)
    assert piped.returncode == 0
    assert ESCAPE not in piped.stdout
    assert "not shown" not in piped.stdout


@pytest.mark.parametrize("columns", [40, 80, 120, 300])
def test_columns_are_aligned_and_what_has_no_room_is_named(used: Served, columns: int) -> None:
    with terminal("models", columns=columns, **MANY_MODELS) as shown:
        assert shown.end() == 0
    header, *rows = [line for line in shown.lines if not line.startswith("not shown: ")]
    assert len(rows) > 20
    at = header.index("STATUS")
    assert all(row[at - 1] == " " and row[at:].startswith(("READY", "DEPRECATED", "NOT_READY")) for row in rows)
    assert max(map(len, shown.lines)) <= columns
    assert ("CAPABILITIES" in header) == (columns == 300)
    assert ("…" in "".join(rows)) == (columns == 120), "what is left is filled with the beginning of the reasons"
    missing = {"PROVIDER", "TIER", "CONTEXT", "OUTPUT", "$ IN/M", "$ OUT/M", "CAPABILITIES", "REASON"}
    missing -= {name for name in missing if name in header}
    assert (shown.lines[-1].startswith("not shown: ")) == bool(missing)
    assert all(name[:4] in shown.lines[-1] or columns == 40 for name in missing)


@pytest.mark.parametrize(
    ("variables", "tty", "colours"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("arguments", [["health"], ["--help"], ["test-provider", "simulator"]], ids=" ".join)
def test_who_gets_colours(
    used: Served, arguments: list[str], variables: dict[str, str], tty: bool, colours: bool
) -> None:
    more: dict[str, Any] = {"LLMGATEWAY_TARGET": used.address, **variables}
    if tty:
        with terminal(*arguments, **more) as shown:
            assert shown.end() == 0
        seen = shown.seen
    else:
        done = run(command(*arguments), **more)
        assert done.stderr == ""
        seen = done.stdout
    assert bool(COLOUR.search(seen.replace(f"{ESCAPE}[0m", ""))) == colours, seen


def test_help_is_plain_in_a_pipe_and_as_wide_as_the_terminal() -> None:
    piped = run(command("--help"), LC_ALL="C")
    assert piped.stdout.isascii()
    with terminal("complete", "--help", columns=60) as shown:
        assert shown.end() == 0
    assert max(map(len, shown.lines)) <= 60


def test_waiting_is_shown_on_a_terminal_and_leaves_no_trace(used: Served) -> None:
    model = "simulator/chat?first_token_ms=700&text=done"
    with terminal("complete", model, "hi", "--no-stream", LLMGATEWAY_TARGET=used.address) as shown:
        shown.wait_for("waiting for the answer")
        assert shown.end() == 0
    # the line is cleared, and the cursor, hidden meanwhile, is there again
    after = shown.seen.rpartition("waiting for the answer")[2]
    assert f"{ESCAPE}[2K" in after
    assert f"{ESCAPE}[?25h" in after
    assert after.endswith("done\r\n")
    with terminal("complete", model, "hi", "--no-stream", LLMGATEWAY_TARGET=used.address, TERM="dumb") as plain:
        assert plain.end() == 0
    assert plain.seen == "done\r\n"


def test_many_texts_go_in_several_calls_and_the_count_is_shown(used: Served) -> None:
    texts = "\\n".join(f"text {number}" for number in range(600))
    line = f"printf '{texts}' | {COMMAND} embed simulator/embed --dimensions 4 | tail -1"
    with terminal(program=["/bin/bash", "-c", line], LLMGATEWAY_TARGET=used.address) as shown:
        assert shown.end() == 0
    assert "600 of 600 texts" in shown.seen or "512 of 600 texts" in shown.seen
    whole = shell(
        f"printf '{texts}' | llmgateway embed simulator/embed - --dimensions 4 | wc -l", LLMGATEWAY_TARGET=used.address
    )
    assert (whole.stdout.strip(), whole.stderr) == ("600", "")


@contextmanager
def own_gateway(folder: Path) -> Iterator[Served]:
    with serving(folder) as served:
        yield served


@pytest.mark.parametrize("form", ["--stream", "--no-stream"])
def test_ctrl_c_cancels_the_call_at_the_gateway(tmp_path: Path, form: str) -> None:
    with own_gateway(tmp_path) as served:
        model = SLOW if form == "--stream" else LATE
        with terminal("complete", model, "hi", form, LLMGATEWAY_TARGET=served.address) as shown:
            if form == "--stream":
                shown.wait_for("the gateway answers")
            else:
                shown.wait_for("waiting for the answer")
                wait_for_a_call(served)
            shown.type("\x03")
            assert shown.end() == 130
        assert "CANCELLED" in shown.seen
        served.stop()
        outcomes = [each["outcome"] for each in served.records() if each["record"] == "call"]
    assert "cancelled" in outcomes


def wait_for_a_call(served: Served) -> None:
    deadline = time.monotonic() + EXIT_S
    with Client(served.address) as client:
        while client.health().in_flight_call_count < 2:
            assert time.monotonic() < deadline, "no call arrives"
            time.sleep(0.02)


def test_sigint_in_a_pipe_says_so_as_json(used: Served) -> None:
    process = subprocess.Popen(
        command("complete", LATE, "hi", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(LLMGATEWAY_TARGET=used.address),
    )
    wait_for_a_call(used)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=EXIT_S)
    assert (process.returncode, output) == (130, "")
    assert '"reason": "CANCELLED"' in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("llmgateway models | head -1", {"0", "141"}),
        ("llmgateway models | true", {"141"}),
        ("llmgateway --help | true", {"141"}),
        (f"llmgateway complete '{SLOW}' hi --stream | head -c 4", {"141"}),
        ("llmgateway version > /dev/full", {"1"}),
        ("llmgateway demo > /dev/full", {"1"}),
    ],
)
def test_output_that_nobody_takes(used: Served, line: str, codes: set[str]) -> None:
    done = shell(f'{line}; echo " code ${{PIPESTATUS[0]}}"', LLMGATEWAY_TARGET=used.address)
    assert done.stdout.split()[-1] in codes
    assert done.stderr == ("" if "full" not in line else "llmgateway: standard output: No space left on device\n")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("llmgateway complete hi -v", 0),
        ("llmgateway complete nobody hi", 3),
        ("llmgateway complete nobody hi --json", 3),
        ("llmgateway complete hi --no-such-option", 2),
        ("llmgateway serve --listen nowhere", 2),
        ("llmgateway version > /dev/full", 1),
    ],
)
def test_a_full_disk_behind_standard_error_changes_no_exit_code(used: Served, line: str, code: int) -> None:
    done = shell(f"{line} 2> /dev/full", LLMGATEWAY_TARGET=used.address)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("llmgateway complete <&-", 2, "the prompt is empty"),
        ("llmgateway complete hi <&-", 0, "You said: hi"),
        ("llmgateway complete hi >&-", 0, ""),
        ("llmgateway complete nobody hi 2>&-", 3, ""),
        ("llmgateway chat <&-", 0, ""),
        ("llmgateway complete ''", 2, "the prompt is empty"),
        ("llmgateway complete '-5 degrees?'", 2, "put two alone: --"),
        ("llmgateway complete -- '-5 degrees?'", 0, "You said: -5 degrees?"),
        ("printf -- -x | llmgateway complete -", 0, "You said: -x"),
        (r"llmgateway complete $'a\xffb'", 2, "the prompt holds bytes that are no text"),
        (r"llmgateway complete hi --system $'a\xffb'", 2, "an argument holds bytes that are no text"),
        (r"printf 'a\xffb' | llmgateway complete", 2, "standard input "),
        (r"printf 'a\xffb\n' | llmgateway chat", 2, "the line holds bytes that are no text"),
        ("head -c 3000000 /dev/zero | tr '\\0' x | llmgateway complete", 0, "You said: xxx"),
        ("head -c 30000000 /dev/zero | tr '\\0' x | llmgateway complete", 5, "larger than max"),
        ("LC_ALL=C llmgateway complete héllo", 0, "You said: héllo"),
        ("PYTHONIOENCODING=ascii llmgateway complete héllo -v", 0, r"You said: h\xe9llo"),
    ],
)
def test_streams_and_words_of_all_kinds(used: Served, line: str, code: int, said: str) -> None:
    done = shell(line, LLMGATEWAY_TARGET=used.address, LC_ALL="C.UTF-8")
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


TABS = [
    ("llmgateway heal", "th "),
    ("llmgateway complete --no-st", "ream "),
    ("llmgateway test-provider sim", "ulator "),
    ("llmgateway chat my:", "big "),
    ("llmgateway stats --period mo", "nth "),
    ("llmgateway help exit", "-codes "),
]


@pytest.mark.parametrize(("typed", "added"), TABS)
@pytest.mark.parametrize(
    ("program", "setup"),
    [
        (["bash", "--norc", "--noprofile", "-i"], "source <(llmgateway completion bash)"),
        (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u; source <(llmgateway completion zsh)"),
        (["fish", "--no-config", "-i"], "llmgateway completion fish | source"),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_the_tab_key(used: Served, program: list[str], setup: str, typed: str, added: str) -> None:
    found = shutil.which(program[0])
    if found is None:
        pytest.skip(f"{program[0]} is not installed")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with terminal(program=[found, *program[1:]], PATH=path, LLMGATEWAY_TARGET=used.address) as shown:
        shown.type(f"{setup}; echo re''ady\r")
        shown.wait_for("ready")
        shown.type(f"{typed}\t")
        shown.wait_for(f"{typed}{added.rstrip()}")
        shown.type("\x15exit\r")
        shown.end()


def test_the_models_of_a_gateway_that_is_not_there_are_not_waited_for() -> None:
    began = time.monotonic()
    done = run(
        command(),
        _LLMGATEWAY_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_ARGS="llmgateway chat ",
        LLMGATEWAY_TARGET="192.0.2.1:50051",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "simulator-chat" in done.stdout.split()
    assert time.monotonic() - began < 15
