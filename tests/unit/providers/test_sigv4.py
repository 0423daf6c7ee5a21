"""Signatures for Amazon, judged by botocore's signer."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.credentials.sigv4 import AwsKeys, SigV4
from llmgateway_server.providers.wire.port import WireRequest
from llmgateway_server.testing.clock import ManualClock
from tests.unit.providers.aws_judge import signed_by_botocore

AT_S = 1_800_000_000.0
TEXT = st.text(string.printable.replace("\n", "").replace("\r", "").replace("\x0b", "").replace("\x0c", ""))
SEGMENTS = st.one_of(
    st.text(max_size=12).map(lambda text: quote(text, safe="~:!$'()*,;=@")), st.sampled_from((".", "..", ""))
)
PATHS = st.lists(SEGMENTS, max_size=5).map(lambda segments: "/" + "/".join(segments))
PAIRS = st.tuples(st.text(max_size=6), st.text(max_size=6)).map(
    lambda pair: "=".join(quote(each, safe="") for each in pair)
)
QUERIES = st.lists(PAIRS, max_size=4).map(lambda pairs: "?" + "&".join(pairs) if pairs else "")
HEADERS = st.dictionaries(
    st.sampled_from(("content-type", "x-amzn-bedrock-trace", "x-amz-target", "x-amzn-bedrock-guardrailidentifier")),
    TEXT.map(str.strip),
)
REQUESTS = st.builds(
    lambda method, path, query, headers, body: WireRequest(
        method, path + query, (("accept", "a/b"), *headers.items()), body
    ),
    st.sampled_from(("GET", "POST", "PUT")),
    PATHS,
    QUERIES,
    HEADERS,
    st.binary(max_size=64),
)


@settings(max_examples=300, deadline=None)
@given(request=REQUESTS, token=st.sampled_from(("", "session/token==")), port=st.sampled_from(("", ":8443")))
def test_it_signs_as_botocore_does(request: WireRequest, token: str, port: str) -> None:
    keys = AwsKeys("secret/key+", "AKIDEXAMPLE", Secret(token))
    host = f"bedrock-runtime.eu-central-1.amazonaws.com{port}"
    ours = dict(SigV4("eu-central-1", host, ManualClock(AT_S))(request, keys))
    theirs = signed_by_botocore(request, host, keys, "eu-central-1", AT_S)
    assert ours == {name: theirs[name] for name in ours}
    assert ("x-amz-security-token" in ours) == bool(token)


def test_the_first_of_amazons_own_examples() -> None:
    """`get-vanilla` of the test suite that Amazon publishes for the algorithm."""
    keys = AwsKeys("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "AKIDEXAMPLE", Secret(""))
    at_s = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
    signer = SigV4("us-east-1", "example.amazonaws.com", ManualClock(at_s), "service")
    assert dict(signer(WireRequest("GET", "/", ()), keys)) == {
        "x-amz-date": "20150830T123600Z",
        "authorization": (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            "SignedHeaders=host;x-amz-date, "
            "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        ),
    }


def test_what_is_already_percent_encoded_is_encoded_once_more() -> None:
    """A model of Bedrock may be a whole ARN, whose colons and slashes are data."""
    keys = AwsKeys("secret", "id", Secret(""))
    sign = SigV4("us-east-1", "h", ManualClock())
    encoded = sign(WireRequest("POST", "/model/arn%3Aaws%2Fx/converse", ()), keys)
    assert encoded != sign(WireRequest("POST", "/model/arn:aws/x/converse", ()), keys)


def test_only_keys_of_amazon_sign() -> None:
    with pytest.raises(TypeError, match=r"^Secret$"):
        SigV4("r", "h", ManualClock())(WireRequest("GET", "/", ()), Secret("x"))


def test_keys_cannot_be_printed() -> None:
    keys = AwsKeys("canary", "id", Secret("canary"))
    assert "canary" not in f"{keys} {keys!r} {keys.session_token!r}"
