"""Puts media into a request by content where the provider cannot fetch their address by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from llmgateway_server.core.messages import Content, MediaPart, Message, TextPart, ToolResultPart
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.providers.egress.fetch import Allowance, Egress, Fetched
from llmgateway_server.providers.egress.refusal import Cause, Refusal, refused

MAX_TOTAL_BYTES: Final = 32 * 1024 * 1024
"""Fetched content of one request; an address that stands there twice counts twice, because it is sent twice."""

WantsInline = Callable[[MediaPart], bool]


async def with_media_inline(
    request: CompleteRequest,
    wants_inline: WantsInline,
    egress: Egress | None,
    *,
    deadline_s: float,
    cache: dict[str, Fetched] | None = None,
) -> CompleteRequest:
    """Replaces media addresses by what they lead to.

    Addresses are fetched side by side, each once. The first that fails, in the order of the request, ends the others.

    Args:
        request: stays as it is.
        wants_inline: whether the provider must be given the content of a part that has an address; asked for those of
            messages and of tool results, more than once.
        egress: None where nothing may be fetched.
        deadline_s: seconds that the call has left.
        cache: contents by address, kept by the call from one target to the next; filled here.

    Returns:
        `request` itself when there is nothing to replace; else a copy that shares what did not change. A replaced
        part has `data` and the MIME type that its server named, and no `uri`.

    Raises:
        RequestError: EGRESS_REFUSED, see `Egress.fetch`; the cause is `disabled` where `egress` is None and `size`
            when all contents together are larger than `MAX_TOTAL_BYTES`.
    """
    places = _places(request, wants_inline)
    if not places:
        return request
    cache = {} if cache is None else cache
    await _fetch(places, egress, deadline_s, cache)
    inline = _Inline(wants_inline, cache)
    return replace(request, messages=[inline.message(message) for message in request.messages])


def _places(request: CompleteRequest, wants_inline: WantsInline) -> dict[str, list[str]]:
    """Returns the addresses to be fetched, each with the paths of the fields that hold it, in order."""
    places: dict[str, list[str]] = {}
    for path, media in _media(request):
        if media.uri is not None and wants_inline(media):
            places.setdefault(media.uri, []).append(f"{path}.uri")
    return places


def _media(request: CompleteRequest) -> Iterator[tuple[str, MediaPart]]:
    for i, message in enumerate(request.messages):
        for j, part in enumerate(message.parts):
            path = f"messages[{i}].parts[{j}]"
            match part.content:
                case MediaPart() as media:
                    yield f"{path}.media", media
                case ToolResultPart(content=pieces):
                    for k, piece in enumerate(pieces):
                        if isinstance(piece, MediaPart):
                            yield f"{path}.tool_result.content[{k}].media", piece


async def _fetch(
    places: dict[str, list[str]], egress: Egress | None, deadline_s: float, cache: dict[str, Fetched]
) -> None:
    """Fills `cache` with all addresses of `places`."""
    allowance = Allowance(MAX_TOTAL_BYTES)
    missing: list[str] = []
    for uri, paths in places.items():
        if uri not in cache:
            missing.append(uri)
            continue
        try:
            allowance.take(len(cache[uri].data) * len(paths))
        except Refusal as refusal:
            raise refused(paths[0], refusal.cause, refusal.detail) from None
    if not missing:
        return
    if egress is None:
        raise refused(places[missing[0]][0], Cause.DISABLED)
    tasks = {
        uri: asyncio.create_task(
            egress.fetch(
                uri,
                field=places[uri][0],
                deadline_s=deadline_s,
                allowance=allowance,
                copies=len(places[uri]),
            )
        )
        for uri in missing
    }
    try:
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        for uri, task in tasks.items():
            if task.done():
                cache[uri] = task.result()
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


class _Inline:
    """Copies what holds a replaced part, and shares the rest."""

    def __init__(self, wants_inline: WantsInline, cache: dict[str, Fetched]) -> None:
        self._wants_inline = wants_inline
        self._cache = cache

    def message(self, message: Message) -> Message:
        contents = [self._content(part.content) for part in message.parts]
        if all(new is part.content for new, part in zip(contents, message.parts, strict=True)):
            return message
        parts = [
            part if new is part.content else replace(part, content=new)
            for new, part in zip(contents, message.parts, strict=True)
        ]
        return replace(message, parts=parts)

    def _content(self, content: Content) -> Content:
        match content:
            case MediaPart():
                return self._part(content)
            case ToolResultPart():
                pieces: list[TextPart | MediaPart] = [
                    self._part(piece) if isinstance(piece, MediaPart) else piece for piece in content.content
                ]
                same = all(new is old for new, old in zip(pieces, content.content, strict=True))
                return content if same else replace(content, content=pieces)
            case _:
                return content

    def _part(self, media: MediaPart) -> MediaPart:
        if media.uri is None or not self._wants_inline(media):
            return media
        fetched = self._cache[media.uri]
        return replace(media, data=fetched.data, uri=None, mime_type=fetched.mime_type)
