"""Azure OpenAI and the models of Azure AI Foundry."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from llmgateway_server.providers.credentials.names import AZURE
from llmgateway_server.providers.credentials.schemes import header
from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.vendors.openai import CHAT, RESPONSES
from llmgateway_server.providers.vendors.vendor import Locate, Vendor

OF_A_DEPLOYMENT = frozenset({"/chat/completions"})
"""Paths that stand behind the name of a deployment; others belong to the whole resource."""
DEPLOYMENTS_VERSION = "2024-10-21"
"""The newest stable version: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle."""
MODELS_VERSION = "2024-05-01-preview"
"""The version of the model inference API: https://learn.microsoft.com/rest/api/aifoundry/modelinference/."""


def _as_it_is(prefix: str, version: str) -> Locate:
    """`…/openai/v1`: the model stands in the body."""
    return lambda path, _model: prefix + path + _query(version)


def _by_deployment(prefix: str, version: str) -> Locate:
    """`…/openai/deployments`: the model is the name of a deployment."""
    query = _query(version or DEPLOYMENTS_VERSION)
    resource = prefix.removesuffix("/deployments")

    def locate(path: str, model: str) -> str:
        return f"{prefix}/{quote(model, safe='')}{path}{query}" if path in OF_A_DEPLOYMENT else resource + path + query

    return locate


def _of_one_deployment(prefix: str, version: str) -> Locate:
    """`…/openai/deployments/NAME`: the address names the only model that there is."""
    query = _query(version or DEPLOYMENTS_VERSION)
    resource = prefix.rpartition("/deployments/")[0]
    return lambda path, _model: (prefix if path in OF_A_DEPLOYMENT else resource) + path + query


def _of_models(prefix: str, version: str) -> Locate:
    """`…/models`: the model stands in the body; what there is to know of it is asked for at `/info`."""
    query = _query(version or MODELS_VERSION)
    return lambda path, _model: prefix + ("/info" if path == "/models" else path) + query


def _of_a_resource(prefix: str, version: str) -> Locate:
    """The bare address: with a version, deployments are meant, as these alone need one."""
    return _by_deployment(f"{prefix}/openai/deployments", version) if version else _as_it_is(f"{prefix}/openai/v1", "")


def _of_its_openai(prefix: str, version: str) -> Locate:
    return _of_a_resource(prefix.removesuffix("/openai"), version)


SHAPES: tuple[tuple[re.Pattern[str], Callable[[str, str], Locate]], ...] = (
    (re.compile(".*/openai/v1"), _as_it_is),
    (re.compile(".*/openai/deployments"), _by_deployment),
    (re.compile(".*/openai/deployments/[^/]+"), _of_one_deployment),
    (re.compile(".*/openai"), _of_its_openai),
    (re.compile(".*/models"), _of_models),
    (re.compile(".*"), _of_a_resource),
)
"""How the path of an account's base URL tells the rest of it; the first that matches counts."""


def located(path_prefix: str, api_version: str) -> Locate:
    """Returns how an account is addressed.

    Args:
        path_prefix: of its base URL, without a trailing slash.
        api_version: of the account; empty for the default of those addresses that need one.
    """
    return next(make(path_prefix, api_version) for shape, make in SHAPES if shape.fullmatch(path_prefix))


def _query(version: str) -> str:
    return f"?api-version={version}" if version else ""


ROWS = (
    Vendor(
        name="azure",
        dialects=(CHAT, RESPONSES),
        base_url="",
        key_variable="AZURE_OPENAI_API_KEY",
        authorize=header("api-key"),
        credentials=AZURE,
        locate=located,
        quirks=Quirks(developer_role=False),  # versions before 2024-12 refuse it; `system` is the same to all
        check_path="/models",
    ),
)
