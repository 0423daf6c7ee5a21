"""Where a model is asked. See `gemini`.

A model is a segment of the path. One whose name is a path already, as the vendor writes it for tuned models, for those
of other makers and for endpoints, stays one.
"""

from __future__ import annotations

from urllib.parse import quote

COLLECTIONS = ("models", "tunedModels", "endpoints", "publishers", "projects")
"""How names begin that are paths."""


def resource(model: str) -> str:
    """Returns the path of a model, each segment percent-encoded; nothing in it leads upwards."""
    segments = model.split("/")
    if segments[0] not in COLLECTIONS or len(segments) == 1 or any(each in ("", ".", "..") for each in segments):
        segments = ["models", model]
    return "/".join(quote(each, safe="@") for each in segments)
