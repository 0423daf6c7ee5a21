"""Models of the catalogue into the contract's messages."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from llmgateway.v1 import model_pb2, routing_pb2
from llmgateway_server.contract.reply_out import target_message
from llmgateway_server.contract.schema import refuse
from llmgateway_server.core.errors import Violation
from llmgateway_server.core.money import PICO_PER_NANO, Price, Rates
from llmgateway_server.core.requests import Operation
from llmgateway_server.core.targets import Capability, Model

DEFAULT_PAGE_SIZE = 100
_MEDIA_INPUT = frozenset({Capability.VISION, Capability.AUDIO_INPUT, Capability.DOCUMENT_INPUT})
_OPTIONAL_RATES = {
    "cache_read_nano_usd_per_token": "cache_read_pico_usd",
    "cache_write_nano_usd_per_token": "cache_write_5m_pico_usd",
    "cache_write_1h_nano_usd_per_token": "cache_write_1h_pico_usd",
    "input_audio_nano_usd_per_token": "input_audio_pico_usd",
    "output_audio_nano_usd_per_token": "output_audio_pico_usd",
}
"""Our rate by the message's field."""


def models_page(request: Any, models: list[Model]) -> model_pb2.ListModelsResponse:
    """Returns one page of `models`, which are sorted by name; the token is the last name of the page before.

    Raises:
        RequestError: INVALID_REQUEST for a token that is not one of ours.
    """
    wanted = {routing_pb2.Capability.Name(each).removeprefix("CAPABILITY_") for each in request.capabilities}
    after = _read_token(request.page_token)
    size = request.page_size or DEFAULT_PAGE_SIZE
    matching = [
        model
        for model in models
        if model.name > after
        and wanted <= model.capabilities
        and (not request.provider or any(target.provider == request.provider for target in model.targets))
    ]
    page = model_pb2.ListModelsResponse(models=map(model_message, matching[:size]))
    if len(matching) > size:
        page.next_page_token = base64.urlsafe_b64encode(matching[size - 1].name.encode()).decode()
    return page


def model_message(model: Model) -> model_pb2.Model:
    """Translates a model; what the catalogue does not know stays unset."""
    message = model_pb2.Model(
        name=model.name,
        modality=_modality(model),
        capabilities=sorted(routing_pb2.Capability.Value(f"CAPABILITY_{name}") for name in model.capabilities),
        context_token_count=model.context_token_count,
        max_output_token_count=model.max_output_token_count,
        tier=model_pb2.ModelTier.Value(f"MODEL_TIER_{model.tier or 'UNSPECIFIED'}"),
        status=model_pb2.ModelStatus.Value(f"MODEL_STATUS_{model.status}"),
        status_reason=model.status_reason,
        inference_type=model_pb2.InferenceType.Value(f"INFERENCE_TYPE_{model.inference_type}"),
        aliases=model.aliases,
    )
    for target in model.targets:
        listed = message.targets.add(target=target_message(target), enabled=True)
        if target.price is not None:
            listed.price.CopyFrom(_price(target.price))
    return message


def _modality(model: Model) -> model_pb2.Modality.ValueType:
    if Operation.EMBED in model.operations and Operation.COMPLETE not in model.operations:
        return model_pb2.MODALITY_TEXT_TO_EMBEDDING
    if Capability.IMAGE_GENERATION in model.capabilities and Operation.COMPLETE not in model.operations:
        return model_pb2.MODALITY_TEXT_TO_IMAGE
    if model.capabilities & _MEDIA_INPUT:
        return model_pb2.MODALITY_MULTIMODAL_TO_TEXT
    return model_pb2.MODALITY_TEXT_TO_TEXT


def _price(price: Price) -> model_pb2.Price:
    message = _rates(price)
    message.version = price.version
    for tier in price.tiers:
        message.tiers.add(above_input_token_count=tier.above_input_token_count, price=_rates(tier.rates))
    for name, other in price.service_tiers:
        message.service_tiers.add(service_tier=name, price=_price(other))
    return message


def _rates(rates: Rates) -> model_pb2.Price:
    message = model_pb2.Price(
        input_nano_usd_per_token=rates.input_pico_usd / PICO_PER_NANO,
        output_nano_usd_per_token=rates.output_pico_usd / PICO_PER_NANO,
    )
    for field, rate in _OPTIONAL_RATES.items():
        pico_usd = getattr(rates, rate)
        if pico_usd is not None:
            setattr(message, field, pico_usd / PICO_PER_NANO)
    return message


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        refuse([Violation("page_token", "must be a next_page_token of this RPC", "page_token")])
        raise
