"""The kinds of credentials: a table. What each is made of, what stands for it by default, and how it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llmgateway_server.providers.credentials import aws, aws_profile, azure, gcp
from llmgateway_server.providers.credentials.names import CredentialKind
from llmgateway_server.providers.credentials.setup import Setup
from llmgateway_server.providers.credentials.source import Source

SECRETS = frozenset({"access_key_id", "secret_access_key", "session_token", "client_secret"})
"""Fields that hold secret references."""


@dataclass(slots=True, frozen=True)
class Recipe:
    """What a kind is made of."""

    build: Callable[[Setup], Source]
    fields: Mapping[str, str]
    """Its settings, and the environment variable that stands for each that is not set; empty: none does."""
    needs: tuple[str, ...] = ()
    """Settings that it is nothing without."""
    defaults: Mapping[str, str] = field(default_factory=dict)


_FILE = {"file": "GOOGLE_APPLICATION_CREDENTIALS", "url": ""}

RECIPES: Mapping[CredentialKind, Recipe] = {
    CredentialKind.AWS_STATIC: Recipe(
        aws_profile.static,
        {
            "access_key_id": "AWS_ACCESS_KEY_ID",
            "secret_access_key": "AWS_SECRET_ACCESS_KEY",
            "session_token": "AWS_SESSION_TOKEN",
        },
        needs=("access_key_id", "secret_access_key"),
    ),
    CredentialKind.AWS_PROFILE: Recipe(
        aws_profile.profile,
        {"profile": "AWS_PROFILE", "file": "AWS_SHARED_CREDENTIALS_FILE"},
        defaults={"profile": "default"},
    ),
    CredentialKind.AWS_WEB_IDENTITY: Recipe(
        aws.web_identity,
        {
            "role_arn": "AWS_ROLE_ARN",
            "token_file": "AWS_WEB_IDENTITY_TOKEN_FILE",
            "session_name": "AWS_ROLE_SESSION_NAME",
            "url": "",
        },
        needs=("role_arn", "token_file"),
        defaults={"session_name": "llmgateway"},
    ),
    CredentialKind.AWS_METADATA: Recipe(aws.metadata, {"url": ""}, defaults={"url": "http://169.254.169.254"}),
    CredentialKind.AWS_CONTAINER: Recipe(
        aws.container,
        {"url": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "token_file": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"},
    ),
    CredentialKind.GCP_SERVICE_ACCOUNT: Recipe(gcp.service_account, _FILE, needs=("file",)),
    CredentialKind.GCP_USER: Recipe(
        gcp.user, _FILE, defaults={"file": "~/.config/gcloud/application_default_credentials.json"}
    ),
    CredentialKind.GCP_METADATA: Recipe(gcp.metadata, {"url": ""}, defaults={"url": "http://metadata.google.internal"}),
    CredentialKind.AZURE_CLIENT: Recipe(
        azure.client,
        {
            "tenant_id": "AZURE_TENANT_ID",
            "client_id": "AZURE_CLIENT_ID",
            "client_secret": "AZURE_CLIENT_SECRET",
            "url": "",
            "scope": "",
        },
        needs=("tenant_id", "client_id", "client_secret"),
        defaults={
            "url": "https://login.microsoftonline.com",
            "scope": "https://cognitiveservices.azure.com/.default",
        },
    ),
}
