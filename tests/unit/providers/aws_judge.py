"""What botocore, the library of Amazon's own SDK, says of a signature."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from llmgateway_server.providers.credentials.sigv4 import AwsKeys
from llmgateway_server.providers.wire.port import WireRequest


def signed_by_botocore(request: WireRequest, host: str, keys: AwsKeys, region: str, at_s: float) -> dict[str, str]:
    """Returns the headers that botocore adds, for Bedrock, at a time."""
    made = AWSRequest(request.method, f"https://{host}{request.path}", dict(request.headers), request.body)
    credentials = Credentials(keys.access_key_id, keys.reveal(), keys.session_token.reveal() or None)
    at = datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None)
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=at),
        mock.patch("botocore.auth.SIGNED_HEADERS_BLACKLIST", ["accept", "expect", "user-agent"]),
    ):
        SigV4Auth(credentials, "bedrock", region).add_auth(made)
    return {name.lower(): value for name, value in made.headers.items()}
