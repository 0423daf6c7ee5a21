import copy
import json
import pickle  # noqa: TID251  # what must not work is what is tried here
from dataclasses import dataclass

import pytest

from llmgateway_server.core.secret import Secret

TEXT = "sk-very-secret"


@dataclass
class Holder:
    secret: Secret


def test_it_is_never_shown() -> None:
    secret = Secret(TEXT)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret:>40}",
        "%s %r" % (secret, secret),  # noqa: UP031
        "{0} {0!r}".format(secret),  # noqa: UP032
        repr(Holder(secret)),
        repr([secret]),
        repr({"key": secret}),
        str(ValueError(secret)),
    ]
    for text in shown:
        assert TEXT not in text
    assert secret.reveal() == TEXT


def test_it_is_never_stored() -> None:
    secret = Secret(TEXT)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="pickled") as caught:
            pickle.dumps(secret, protocol)
        assert TEXT not in str(caught.value)
    with pytest.raises(TypeError):
        copy.deepcopy(Holder(secret))
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    assert not hasattr(secret, "__dict__")


def test_an_empty_one_is_no_credential() -> None:
    assert not Secret("")
    assert Secret("x")
