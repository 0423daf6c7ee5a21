"""Where Bedrock's runtime is asked for a model."""

from __future__ import annotations

from urllib.parse import quote


def model_path(model: str, action: str) -> str:
    """Returns the path of an action on a model.

    Args:
        model: id, or ARN of a profile; it may hold slashes and colons and is one segment of the path all the same.
        action: `converse`, `invoke` and the like.
    """
    return f"/model/{quote(model, safe='')}/{action}"
