"""Why an answer ended, in the words of the contract. See `gemini`.

Source: `FinishReason` and `BlockedReason` of https://ai.google.dev/api/generate-content and of the vendor's own client.
"""

from __future__ import annotations

from llmgateway_server.core.events import FinishReason

FINISH_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        ),
        FinishReason.CONTENT_FILTER,
    ),
    **dict.fromkeys(
        (
            *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"),
            *("MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE"),
        ),
        FinishReason.ERROR,
    ),
}
"""What is missing here (`OTHER`, `LANGUAGE`, whatever comes to be) ends for no reason that the contract has."""
NUMBERS = ("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
"""The reasons by their number, where enumerations are numbers. From 6 on the two services count differently."""


def finish_word(value: object) -> str | None:
    """Returns a reason as the vendor's word; None where there is none yet.

    Args:
        value: a word or a number. A number that means two things stays one.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return NUMBERS[value] if 0 <= value < len(NUMBERS) else str(value)
    return value if isinstance(value, str) and value else None


def finish_reason(word: str) -> FinishReason:
    """Returns what a reason means."""
    return FINISH_REASONS.get(word, FinishReason.UNSPECIFIED)
