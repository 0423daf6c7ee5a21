from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.principal import ANONYMOUS, NOBODY, PERMISSIONS, Permission, Principal, Role

SUBSETS = st.sets(st.sampled_from(list(Role)))


def holder(roles: Iterable[Role], *models: str) -> Principal:
    return Principal("k", "t", frozenset(roles), models or ("*",))


def test_every_role_is_defined() -> None:
    assert set(PERMISSIONS) == set(Role)
    assert PERMISSIONS[Role.ADMIN] == set(Permission)


def test_the_ends() -> None:
    assert not any(NOBODY.may(permission) for permission in Permission)
    assert all(ANONYMOUS.may(permission) for permission in Permission)
    assert Role.ADMIN not in ANONYMOUS.roles


@given(SUBSETS, SUBSETS)
def test_fewer_roles_never_allow_more(roles: set[Role], removed: set[Role]) -> None:
    before, after = holder(roles), holder(roles - removed)
    for permission in Permission:
        assert before.may(permission) or not after.may(permission)
        assert before.may(permission) == any(permission in PERMISSIONS[role] for role in roles)


def test_models_are_patterns() -> None:
    one = holder({Role.CALLER}, "gpt-4o*", "up/?")
    assert [name for name in ("gpt-4o", "gpt-4o-mini", "GPT-4o", "up/a", "up/ab", "x-gpt-4o") if one.may_use(name)] == [
        "gpt-4o",
        "gpt-4o-mini",
        "up/a",
    ]
    assert not Principal("k", "t", frozenset(Role), ()).may_use("a")
