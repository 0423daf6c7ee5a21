"""What Google checks of the turns of a conversation: parts, results of calls, signatures that come back.

Source: as `checks_gemini`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.checks import Memory, Refused
from llmgateway_server.testing.fake_provider.reply import FakeError

DATA = {
    *("text", "inlineData", "fileData", "functionCall", "functionResponse"),
    *("executableCode", "codeExecutionResult", "toolCall", "toolResponse"),
}
"""A part holds one of these."""
BESIDE = {"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"}
STAND_IN = "skip_thought_signature_validator"
"""Signature for calls that the model did not make."""


def check_turns(body: Mapping[str, Any], memory: Memory) -> None:
    """Refuses a conversation that the vendor would not continue.

    Raises:
        Refused: the first fault.
    """
    instructions = body.get("systemInstruction")
    if instructions is not None and not all(set(part) == {"text"} for part in instructions["parts"]):
        raise _refuse("system_instruction: not text alone")
    for index, content in enumerate(body["contents"]):
        _check_content(content, f"contents[{index}]", memory)
    _check_answers(body["contents"])


def _refuse(message: str) -> Refused:
    return Refused(FakeError(400, message=message))


def _check_content(content: Mapping[str, Any], path: str, memory: Memory) -> None:
    if set(content) - {"role", "parts"} or content.get("role", "user") not in ("user", "model"):
        raise _refuse(f"{path}.role: unknown")
    if not content.get("parts"):
        raise _refuse(f"{path}.parts: none")
    for index, part in enumerate(content["parts"]):
        place = f"{path}.parts[{index}]"
        if set(part) - DATA - BESIDE or len(set(part) & DATA) > 1 or not part:
            raise _refuse(f"{place}: holds not one thing")
        signature = part.get("thoughtSignature")
        if signature is not None and signature not in memory.sealed | {STAND_IN}:
            raise _refuse(f"{place}.thought_signature: not valid")
        _check_part(part, place)


def _check_part(part: Mapping[str, Any], path: str) -> None:
    match part:
        case {"text": text} if not isinstance(text, str):
            raise _refuse(f"{path}.text: not a text")
        case {"inlineData": blob}:
            if "/" not in blob.get("mimeType", "") or not _is_base64(blob.get("data")):
                raise _refuse(f"{path}.inline_data: without a type, or not base64")
        case {"fileData": file} if not file.get("fileUri"):
            raise _refuse(f"{path}.file_data.file_uri: missing")
        case {"functionCall": call} if not (call.get("name") and isinstance(call.get("args", {}), dict)):
            raise _refuse(f"{path}.function_call: without a name, or with arguments that are no object")
        case {"functionResponse": result} if not (result.get("name") and isinstance(result.get("response"), dict)):
            raise _refuse(f"{path}.function_response: without a name, or with a response that is no object")


def _is_base64(data: Any) -> bool:
    try:
        base64.b64decode(data.translate(str.maketrans("-_", "+/")), validate=True)
    except (AttributeError, ValueError):
        return False
    return True


def _check_answers(contents: list[Mapping[str, Any]]) -> None:
    """Each turn with calls is followed by one with their results, by name and order or by their ids."""
    waiting: list[tuple[str, str]] = []
    for index, content in enumerate(contents):
        results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        answered = [(result.get("id", ""), result["name"]) for result in results]
        if (waiting or answered) and answered != waiting:
            raise _refuse(f"contents[{index}]: function responses are not those of the function calls before")
        waiting = [(call.get("id", ""), call["name"]) for call in calls]
    if waiting:
        raise _refuse("contents: the last function calls have no responses")
