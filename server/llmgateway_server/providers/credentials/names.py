"""The kinds of credentials beside API keys, by name, and whose they are."""

from __future__ import annotations

from enum import StrEnum


class CredentialKind(StrEnum):
    """Where a credential comes from; docs/credentials.md says what each needs."""

    AWS_STATIC = "aws_static"
    """Keys that stand in the configuration."""
    AWS_PROFILE = "aws_profile"
    """Keys in the files of the AWS command line."""
    AWS_WEB_IDENTITY = "aws_web_identity"
    """A role that is assumed with a token in a file."""
    AWS_METADATA = "aws_metadata"
    """The role of the virtual machine."""
    AWS_CONTAINER = "aws_container"
    """The role of the container."""
    GCP_SERVICE_ACCOUNT = "gcp_service_account"
    """A service account whose key is in a file."""
    GCP_USER = "gcp_user"
    """A person who has logged in with `gcloud auth application-default login`."""
    GCP_METADATA = "gcp_metadata"
    """The service account of the virtual machine or the pod."""
    AZURE_CLIENT = "azure_client"
    """An application of Entra with a client secret."""


AWS = frozenset(kind for kind in CredentialKind if kind.startswith("aws_"))
"""Keys that sign requests to Amazon."""
GCP = frozenset(kind for kind in CredentialKind if kind.startswith("gcp_"))
"""Tokens for Google Cloud."""
AZURE = frozenset(kind for kind in CredentialKind if kind.startswith("azure_"))
"""Tokens for Azure."""
