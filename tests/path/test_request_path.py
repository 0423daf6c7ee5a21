from llmgateway_server import request_path
from llmgateway_server.app import App
from llmgateway_server.config.load import from_document

SNAPSHOT = """\
call ring: once per RPC, metadata only
  status        outermost: every exit of a call is a status with a reason and a request id
  trace         before anything can refuse, so that refusals show in traces
  deadline      first of the refusals: a call without time left is not worth any work
  admit         before authentication: overload is refused before any look-up
  authenticate  metadata is enough for it, so the message of a stranger is never decoded
  throttle      needs to know the key; failed logins are throttled where they fail
request ring: once per call, decoded message
  record        outermost: it sees every call and every way in which one can end
  authorize     before anything is spent or told about the model
  screen        on the way in before anything is cached or spent, on the way out after everything that could add text
  failover      last: everything before it happens once per call, everything after it once per attempt
attempt ring: once per try, chosen target
  meter         outermost, because it decides the outcome and must see the reason
  breaker       inside the meter, which records refusals and tells successes; around everything that a refusal must \
not cost
  bounds        around the timeouts, one of whose ends becomes the reply's own; inside the meter, which charges it
  timeouts      innermost, so that everything around it sees the reason and not a cancelled task
  provider      encodes, exchanges bytes, decodes"""


def test_the_path_is_what_it_was() -> None:
    document = {"providers": {"simulator": {"vendor": "simulator"}}, "screen": {"blocked_terms": ["forbidden"]}}
    assert request_path.describe(App(from_document(document, "test"), {}).parts) == SNAPSHOT


def test_a_step_without_work_is_absent() -> None:
    document = {"providers": {"simulator": {"vendor": "simulator"}}}
    assert "screen" not in request_path.describe(App(from_document(document, "test"), {}).parts)
