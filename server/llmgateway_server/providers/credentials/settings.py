"""Settings of a credential."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from llmgateway_server.providers.credentials.kinds import RECIPES
from llmgateway_server.providers.credentials.names import CredentialKind


class CredentialSettings(BaseModel):
    """How an account of a cloud is called; docs/credentials.md says what each kind needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: CredentialKind
    """Where the secret comes from: it decides which of the settings below there are."""
    access_key_id: str = ""
    """Secret reference: the id of the keys of `aws_static`. Default: `AWS_ACCESS_KEY_ID`."""
    secret_access_key: str = ""
    """Secret reference: the secret one of them. Default: `AWS_SECRET_ACCESS_KEY`."""
    session_token: str = ""
    """Secret reference: of keys that expire. Default: `AWS_SESSION_TOKEN`, where the others have theirs, too."""
    profile: str = ""
    """Of `aws_profile`. Default: `AWS_PROFILE`, or `default`."""
    file: str = ""
    """File of `aws_profile`, by default those of the AWS command line; of `gcp_service_account` and `gcp_user`, by
    default what `GOOGLE_APPLICATION_CREDENTIALS` says."""
    role_arn: str = ""
    """Role that `aws_web_identity` assumes. Default: `AWS_ROLE_ARN`."""
    token_file: str = ""
    """File with the token that is shown for it, or to the agent of `aws_container`. Default: what the environment of a
    pod says."""
    session_name: str = ""
    """Of the assumed role, for Amazon's logs. Default: `AWS_ROLE_SESSION_NAME`, or `llmgateway`."""
    url: str = ""
    """Whom to ask for tokens. Default: the vendor's own."""
    tenant_id: str = ""
    """Directory of `azure_client`. Default: `AZURE_TENANT_ID`."""
    client_id: str = ""
    """Application of `azure_client`. Default: `AZURE_CLIENT_ID`."""
    client_secret: str = ""
    """Secret reference: what it shows. Default: `AZURE_CLIENT_SECRET`."""
    scope: str = ""
    """What its tokens are for. Default: `https://cognitiveservices.azure.com/.default`."""

    @field_validator("*")
    @classmethod
    def _of_its_kind(cls, setting: str, info: ValidationInfo) -> str:
        kind = info.data.get("kind")
        if setting and kind is not None and info.field_name not in RECIPES[kind].fields:
            raise ValueError(f"{info.field_name} is not for {kind}, which has {', '.join(RECIPES[kind].fields)}")
        return setting
