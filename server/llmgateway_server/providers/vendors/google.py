"""Google: AI Studio and Vertex AI."""

from __future__ import annotations

from llmgateway_server.providers.credentials.names import GCP
from llmgateway_server.providers.credentials.schemes import header
from llmgateway_server.providers.dialects.gemini import Gemini
from llmgateway_server.providers.dialects.gemini.request import Service
from llmgateway_server.providers.vendors.vendor import Locate, Vendor

OWN_MODELS = "/publishers/google"
"""How the path of Vertex's base URL ends."""


def among_publishers(path_prefix: str, _api_version: str) -> Locate:
    """Returns how Vertex is addressed: models of other makers, endpoints and projects stand beside Google's own."""

    def locate(path: str, _model: str) -> str:
        if path.startswith("/projects/"):
            return path_prefix.partition("/projects/")[0].removesuffix(OWN_MODELS) + path
        if path.startswith(("/publishers/", "/endpoints/")):
            return path_prefix.removesuffix(OWN_MODELS) + path
        return path_prefix + path

    return locate


KEY = header("x-goog-api-key")

ROWS = (
    Vendor(
        name="google",
        dialects=(Gemini(Service(counts_requests=True)),),
        base_url="https://generativelanguage.googleapis.com/v1beta",
        key_variable="GEMINI_API_KEY",
        authorize=KEY,
        check_path="/models?pageSize=1",  # https://ai.google.dev/api/models#method:-models.list
    ),
    Vendor(
        name="vertex",
        dialects=(Gemini(Service(excludes_domains=True)),),
        base_url="https://{region_host}aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/publishers/google",
        authorize=KEY,
        credentials=GCP,
        locate=among_publishers,
    ),
)
