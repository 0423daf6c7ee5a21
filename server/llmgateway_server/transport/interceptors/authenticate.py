"""Finds out who calls and whether they may call this RPC."""

from __future__ import annotations

from collections.abc import Mapping

from llmgateway_server.admission.authenticate import Authenticator, authorize_method
from llmgateway_server.core.calls import CallScope
from llmgateway_server.core.principal import Permission
from llmgateway_server.transport.interceptors.step import Check, Context
from llmgateway_server.transport.tls import verified_names


class Authenticate(Check):
    """See the module.

    Args:
        authenticator: looks keys and certificates up.
        permissions: what each method needs; every served method has an entry.
    """

    name = "authenticate"
    why = "metadata is enough for it, so the message of a stranger is never decoded"

    def __init__(self, authenticator: Authenticator, permissions: Mapping[str, Permission]) -> None:
        super().__init__()
        self._authenticator = authenticator
        self._permissions = permissions

    def check(self, scope: CallScope, context: Context) -> None:
        """See `Check.check`."""
        # Asked for per call: which connection a call came by is nothing that could be remembered by its address.
        names = verified_names(context.auth_context()) if self._authenticator.reads_certificates else ()
        scope.principal = self._authenticator.authenticate(scope.metadata, scope.peer, names)
        authorize_method(scope.principal, scope.method, self._permissions[scope.method])
