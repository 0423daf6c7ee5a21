"""Operators' requests: bytes of any kind are a request or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway.admin.v1 import admin_service_pb2, provider_test_pb2
from llmgateway_server.contract import admin_in
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.reasons import Reason


def test_every_request_of_the_service_is_known() -> None:
    [service] = admin_service_pb2.DESCRIPTOR.services_by_name.values()
    assert {method.input_type.full_name for method in service.methods} == {
        f"{admin_in.PACKAGE}.{name}" for name in admin_in.REQUESTS
    }


def decoded(name: str, data: bytes) -> tuple[Any, RequestError | None]:
    try:
        return admin_in.decode(name, data), None
    except RequestError as error:
        return None, error


@given(name=st.sampled_from(admin_in.REQUESTS), data=st.binary(max_size=300))
def test_bytes(name: str, data: bytes) -> None:
    _, refused = decoded(name, data)
    assert refused is None or refused.reason in (Reason.MALFORMED_REQUEST, Reason.INVALID_REQUEST)


@given(provider=st.text(max_size=80), model=st.text(max_size=260))
def test_only_names_come_through(provider: str, model: str) -> None:
    data = provider_test_pb2.TestProviderRequest(provider=provider, model=model).SerializeToString()
    request, refused = decoded("TestProviderRequest", data)
    if refused is not None:
        assert refused.reason is Reason.INVALID_REQUEST
        assert {each.field for each in refused.violations} <= {"provider", "model"}
        return
    assert (request.provider, request.model) == (provider, model)
    assert 0 < len(provider) <= 64
    assert "\x00" not in model


@pytest.mark.parametrize("provider", ["simulator", "my-azure_eu.2"])
def test_good_names(provider: str) -> None:
    data = provider_test_pb2.TestProviderRequest(provider=provider, model="a/b:c é").SerializeToString()
    assert admin_in.decode("TestProviderRequest", data).model == "a/b:c é"
