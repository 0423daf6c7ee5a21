import protovalidate
import pytest

from llmgateway.v1 import completion_pb2, message_pb2, model_pb2
from llmgateway_server.contract import catalog_out, requests_in, schema
from llmgateway_server.contract.messages_in import ALLOWED_PARTS, Conversation
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.messages import Role, TextPart
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.targets import Model, Target

PARTS = {
    "text": message_pb2.Part(text="a"),
    "media": message_pb2.Part(media=message_pb2.Media(data=b"a", mime_type="image/png")),
    "tool_call": message_pb2.Part(tool_call=message_pb2.ToolCall(id="c1", name="t", arguments_json="{}")),
    "tool_result": message_pb2.Part(tool_result=message_pb2.ToolResult(tool_call_id="c0")),
    "reasoning": message_pb2.Part(reasoning=message_pb2.Reasoning(text="a")),
    "refusal": message_pb2.Part(refusal=message_pb2.Refusal(text="a")),
}
ROLES = {role: message_pb2.Role.Value(f"ROLE_{role.name}") for role in Role}


def say(role: Role, *kinds: str) -> message_pb2.Message:
    return message_pb2.Message(role=ROLES[role], parts=[PARTS[kind] for kind in kinds])


def called() -> message_pb2.Message:
    part = message_pb2.Part(tool_call=message_pb2.ToolCall(id="c0", name="t"))
    return message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[part])


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("kind", list(PARTS))
def test_which_role_says_what(role: Role, kind: str) -> None:
    conversation = Conversation("request.")
    read = conversation.read([called(), say(role, kind)])
    if kind in ALLOWED_PARTS[role]:
        assert conversation.violations == []
        assert len(read[1].parts) == 1
    else:
        assert [(found.field, found.rule) for found in conversation.violations] == [
            ("request.messages[1].parts[0]", "message.role_parts")
        ]


@pytest.mark.parametrize("role", list(Role))
def test_only_an_assistant_may_say_nothing(role: Role) -> None:
    conversation = Conversation("")
    conversation.read([say(role)])
    assert [found.field for found in conversation.violations] == (
        [] if role is Role.ASSISTANT else ["messages[0].parts"]
    )


def test_tool_calls_and_results_belong_together() -> None:
    conversation = Conversation("")
    conversation.read([say(Role.TOOL, "tool_result"), called(), called()])
    assert [(found.field, found.rule) for found in conversation.violations] == [
        ("messages[0].parts[0].tool_result.tool_call_id", "tool_result.known"),
        ("messages[2].parts[0].tool_call.id", "tool_call.unique"),
    ]


def test_text_is_counted_in_bytes() -> None:
    conversation = Conversation("")
    conversation.read(
        [say(Role.USER, "text"), message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="é😀")])]
    )
    assert conversation.text_byte_count == 1 + 2 + 4
    request = completion_pb2.CompleteRequest(messages=[say(Role.USER, "text")])
    request.tools.add(name="t", description="é", parameters_json_schema='{"é":1}')
    assert requests_in.complete_request(request).input_byte_count == 1 + 2 + 8


def test_a_request_is_what_was_sent() -> None:
    sent = completion_pb2.CompleteRequest(model="m", messages=[say(Role.USER, "text")], temperature=0.0, stop=["x"])
    read = requests_in.complete_request(schema.decode("CompleteRequest", sent.SerializeToString()))
    assert (read.model, read.temperature, read.top_p, read.stop) == ("m", 0.0, None, ("x",))  # zero is not absent
    assert read.messages[0].parts[0].content == TextPart("a")


def test_rules_hold_whatever_class_was_seen_before() -> None:
    # The client's classes carry no rules: with a shared cache the first one seen would switch them off.
    rule_free = completion_pb2.CompleteRequest(temperature=9)
    assert protovalidate.collect_violations(rule_free) == []
    with pytest.raises(RequestError) as caught:
        schema.decode("CompleteRequest", rule_free.SerializeToString())
    assert {violation.field for violation in caught.value.violations} == {"messages", "temperature"}
    found = schema.violations(schema.message_class("CompleteRequest")())
    assert [violation.field for violation in found] == ["messages"]


def test_every_request_message_can_be_checked() -> None:
    schema.warm_up()
    for name in schema.REQUESTS:
        with pytest.raises(RequestError) as caught:
            schema.decode(name, b"\xff")
        assert caught.value.reason is Reason.MALFORMED_REQUEST


def test_newer_fields_are_named() -> None:
    known = completion_pb2.CompleteRequest(messages=[say(Role.USER, "text")])

    def paths(extra: bytes) -> list[str]:
        data = known.SerializeToString() + extra
        return schema.drop_unknown_fields(schema.message_class("CompleteRequest").FromString(data), data)

    assert paths(b"") == []
    assert paths(b"\xc0\x3e\x01\xc8\x3e\x01") == ["field 1000", "field 1001"]
    message = b"\x08\x03" + b"\xc0\x3e\x01"  # a role, and a field 1000
    assert paths(b"\x12" + bytes([len(message)]) + message) == ["a nested field"]


def models(*names: str) -> list[Model]:
    return [Model(name, (Target("p", "v", name),)) for name in names]


def test_pages_cover_every_model_once() -> None:
    names = [f"m{i:02d}é" for i in range(23)]
    seen, token = [], ""
    while True:
        page = catalog_out.models_page(model_pb2.ListModelsRequest(page_size=5, page_token=token), models(*names))
        seen += [model.name for model in page.models]
        token = page.next_page_token
        if not token:
            break
    assert seen == names


@pytest.mark.parametrize("token", ["é", "!!!!", "a", "/w==", "gICA", "a b=", "=="])
def test_a_token_of_somebody_else_is_refused(token: str) -> None:
    with pytest.raises(RequestError) as caught:
        catalog_out.models_page(model_pb2.ListModelsRequest(page_token=token), models("a"))
    assert [violation.field for violation in caught.value.violations] == ["page_token"]
