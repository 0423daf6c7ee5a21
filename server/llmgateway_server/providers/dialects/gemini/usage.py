"""What an answer took, in the words of the contract. See `gemini`."""

from __future__ import annotations

from collections.abc import Mapping

from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.counts import believable_count
from llmgateway_server.providers.dialects.gemini.answer import ReportedUsage

MODALITIES = {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}
"""By their number, where enumerations are numbers."""


def merged(before: ReportedUsage, later: ReportedUsage | None) -> ReportedUsage:
    """Returns the usage after another report; a null leaves what was known."""
    return before | {name: value for name, value in (later or {}).items() if value is not None}


def normalised(reported: ReportedUsage) -> Usage | None:
    """Returns the tokens of an answer; None where nothing was counted.

    What the vendor's own tools put before the model comes on top of the prompt, and thoughts on top of the answer;
    cached tokens are part of the prompt. Where the answer's tokens are missing, the total tells them.
    """
    prompt, tool_use, answer, thoughts, cached = (
        believable_count(reported.get(name))
        for name in (
            *("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
            "cachedContentTokenCount",
        )
    )
    if prompt is None and answer is None and thoughts is None:
        return None
    if answer is None and prompt is not None:
        rest = (believable_count(reported.get("totalTokenCount")) or 0) - prompt - (tool_use or 0) - (thoughts or 0)
        answer = rest if rest > 0 else None
    heard, spoken = _by_modality(reported, "promptTokensDetails"), _by_modality(reported, "candidatesTokensDetails")
    return Usage(
        input_token_count=None if prompt is None else believable_count(prompt + (tool_use or 0)),
        output_token_count=None if answer is thoughts is None else believable_count((answer or 0) + (thoughts or 0)),
        cache_read_token_count=cached,
        reasoning_token_count=thoughts,
        input_audio_token_count=heard.get("AUDIO"),
        output_audio_token_count=spoken.get("AUDIO"),
        input_image_token_count=heard.get("IMAGE"),
        output_image_token_count=spoken.get("IMAGE"),
        tool_use_token_count=tool_use,
    )


def _by_modality(reported: ReportedUsage, name: str) -> Mapping[str, int]:
    details = reported.get(name)
    found: dict[str, int] = {}
    for entry in details if isinstance(details, list) else ():
        if not isinstance(entry, dict):
            continue
        count, modality = believable_count(entry.get("tokenCount")), entry.get("modality")
        if isinstance(modality, int):
            modality = MODALITIES.get(modality)
        if count is not None and isinstance(modality, str):
            found[modality] = count
    return found
