"""Token counts as vendors report them."""

from __future__ import annotations

MAX_TOKEN_COUNT = 2**53
"""No answer has more tokens; a larger count is noise."""


def believable_count(reported: object) -> int | None:
    """Takes a count that cannot be one for absent: it would be charged, or would not fit the reply's field.

    Args:
        reported: whatever stands where a vendor puts a count.
    """
    if not isinstance(reported, int) or isinstance(reported, bool):
        return None
    return reported if 0 <= reported <= MAX_TOKEN_COUNT else None
