"""What is known of Google's models by their names."""

from __future__ import annotations

import pytest

from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Capability, ModelStatus, ReasoningStyle
from llmgateway_server.providers.profiles import likely_vendor, profile_of

NONE, EFFORT, BUDGET, ADAPTIVE, UNKNOWN = (
    ReasoningStyle.NONE,
    ReasoningStyle.EFFORT,
    ReasoningStyle.BUDGET,
    ReasoningStyle.ADAPTIVE,
    ReasoningStyle.UNKNOWN,
)


@pytest.mark.parametrize("vendor", ["google", "vertex"])
@pytest.mark.parametrize(
    ("name", "reasoning", "tier", "ready"),
    [
        ("gemini-1.5-pro-002", NONE, "STANDARD", False),
        ("gemini-2.0-flash-001", NONE, "STANDARD", False),
        ("gemini-2.0-flash-lite", NONE, "BASIC", False),
        ("gemini-2.5-flash", BUDGET, "STANDARD", False),
        ("gemini-2.5-flash-lite-preview-09-2025", BUDGET, "BASIC", True),
        ("models/gemini-2.5-pro", BUDGET, "PREMIUM", False),
        ("Gemini-2.5-Pro", BUDGET, "PREMIUM", False),
        ("gemini-3-pro-preview", ADAPTIVE, "PREMIUM", False),
        ("gemini-3-flash-preview", EFFORT, "STANDARD", True),
        ("publishers/google/models/gemini-3.1-pro-preview", ADAPTIVE, "PREMIUM", True),
        ("gemini-3.1-flash-lite", EFFORT, "BASIC", True),
        ("gemini-3.5-flash", EFFORT, "STANDARD", True),
        ("gemini-3.6-flash", EFFORT, "STANDARD", True),
        ("gemini-3.7-flash", ADAPTIVE, "STANDARD", True),
        ("gemini-3.8-flash", ADAPTIVE, "STANDARD", True),
        ("gemini-4-argon", ADAPTIVE, "PREMIUM", True),
        ("gemini-99", UNKNOWN, "", True),
        ("tunedModels/mine", UNKNOWN, "", True),
    ],
)
def test_google(vendor: str, name: str, reasoning: ReasoningStyle, tier: str, ready: bool) -> None:
    profile = profile_of(vendor, name)
    assert (profile.reasoning, profile.tier) == (reasoning, tier)
    assert (profile.status is ModelStatus.READY) is ready
    assert Capability.STREAMING in profile.capabilities


def test_models_with_other_outputs_are_told_apart() -> None:
    assert Capability.IMAGE_GENERATION in profile_of("google", "gemini-3-pro-image-preview").capabilities
    assert Capability.TOOLS not in profile_of("google", "gemini-2.5-flash-image").capabilities
    assert profile_of("google", "gemini-3.1-flash-tts-preview").capabilities == frozenset()
    assert Operation.COMPLETE not in profile_of("google", "gemini-embedding-001").operations
    assert likely_vendor("gemini-7") == "google"
