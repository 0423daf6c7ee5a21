"""What a row of the vendor table holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from string import Formatter

from llmgateway_server.providers.credentials.names import CredentialKind
from llmgateway_server.providers.credentials.schemes import Authorize, bearer
from llmgateway_server.providers.dialects.dialect import Dialect, Quirks
from llmgateway_server.providers.wire.port import Headers

Locate = Callable[[str, str], str]
"""Returns the request target for a dialect's path and an upstream model."""


def behind_prefix(path_prefix: str, _api_version: str) -> Locate:
    """Returns how nearly all vendors are addressed: the dialect's path behind that of the base URL."""
    return lambda path, _model: path_prefix + path


@dataclass(slots=True, frozen=True)
class Vendor:
    """The company or engine behind a provider account."""

    name: str
    dialects: tuple[Dialect, ...]
    """What it speaks; the first one is spoken with models that name none."""
    base_url: str
    """Default base URL; empty where every account has its own. `{region}` and the like stand for settings of the
    account, see `PLACEHOLDERS`."""
    key_variable: str = ""
    """Environment variable that holds the key; with it set, `serve` without a file offers the vendor."""
    authorize: Authorize = bearer
    """How an API key is sent."""
    credentials: frozenset[CredentialKind] = frozenset()
    """Kinds of credentials that it takes beside API keys: one of the sets of `credentials.names`."""
    locate: Callable[[str, str], Locate] = behind_prefix
    """Given the path of the base URL without a trailing slash and the account's `api_version`: how it is addressed."""
    quirks: Quirks = field(default_factory=Quirks)
    counting_dialect: str = ""
    """The dialect whose endpoint counts tokens for all of its models; empty: each dialect's own, if it has one."""
    check_path: str = ""
    """What can be asked for without cost, behind the base URL, to see that it answers; empty: nothing is known."""
    check_headers: Headers = ()
    """Beside the key, for that question."""
    bills_on_abort: bool = False
    """Goes on generating, and bills the whole answer, when a stream is left (`providers.drain`).

    True only where a source says so. Accounts in front of such a vendor set `drain_on_cancel`.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """The settings of an account without which there is no default address, in order."""
        return tuple(dict.fromkeys(PLACEHOLDERS[name] for _, name, _, _ in Formatter().parse(self.base_url) if name))

    def address(self, settings: Mapping[str, str]) -> str:
        """Returns the default base URL for an account; empty where it has none, or a setting for it is missing.

        Args:
            settings: `region`, `project`.
        """
        if not all(settings.get(name) for name in self.needs):
            return ""
        region = settings.get("region", "")
        host_prefix = "" if region == "global" else f"{region}-"
        return self.base_url.format(region=region, region_host=host_prefix, project=settings.get("project", ""))


PLACEHOLDERS = {"region": "region", "region_host": "region", "project": "project"}
"""Names in a row's base URL, and the setting that each stands for. `region_host` is what Google puts before the name of
a regional host: nothing for `global`."""
