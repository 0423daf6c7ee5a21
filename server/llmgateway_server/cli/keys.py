"""What `llmgateway keys` prints."""

from __future__ import annotations

from llmgateway_server.admission.keys import new_key
from llmgateway_server.core.principal import Role
from llmgateway_server.core.secret import Secret


def new_key_text(tenant: str, roles: list[str], pepper: Secret) -> tuple[str, str]:
    """Makes a key.

    Returns:
        The key, and its entry for the configuration file as YAML.

    Raises:
        ValueError: there is no such role.
    """
    known = {role.value for role in Role}
    if unknown := [role for role in roles if role not in known]:
        raise ValueError(f"no such role: {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
    made = new_key(pepper)
    entry = "\n".join(
        (
            "auth:",
            "  keys:",
            f"    - id: {made.key_id}",
            f"      hash: {made.key_hash}",
            f"      tenant: {tenant}",
            f"      roles: [{', '.join(roles)}]",
        )
    )
    return made.key.reveal(), entry
