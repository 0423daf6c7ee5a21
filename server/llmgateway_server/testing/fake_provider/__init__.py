"""A fake provider that speaks the wire formats of the vendors, byte by byte as they do.

`FakeProvider` is the server; `FakeReply` and `FakeError` are what it says. See docs/fake-provider.md.
"""

from llmgateway_server.core.events import Logprob
from llmgateway_server.testing.fake_provider.features import FORMATS, PLAYS, plays
from llmgateway_server.testing.fake_provider.reply import (
    FakeCitation,
    FakeError,
    FakePart,
    FakeReasoning,
    FakeRefusal,
    FakeReply,
    FakeSearchResult,
    FakeServerTool,
    FakeText,
    FakeToolCall,
    FakeUsage,
    Finish,
    Format,
)
from llmgateway_server.testing.fake_provider.server import FakeProvider, Scripted

__all__ = [
    "FORMATS",
    "PLAYS",
    "FakeCitation",
    "FakeError",
    "FakePart",
    "FakeProvider",
    "FakeReasoning",
    "FakeRefusal",
    "FakeReply",
    "FakeSearchResult",
    "FakeServerTool",
    "FakeText",
    "FakeToolCall",
    "FakeUsage",
    "Finish",
    "Format",
    "Logprob",
    "Scripted",
    "plays",
]
