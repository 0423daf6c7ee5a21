"""Credentials in the configuration: what each kind needs, where that may come from, and what is told when it is not."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmgateway_server.app import App
from llmgateway_server.config.effective import as_document, as_origins, as_yaml
from llmgateway_server.config.load import ConfigError, load, load_usable
from llmgateway_server.providers.credentials.kinds import RECIPES, SECRETS
from llmgateway_server.providers.credentials.names import AWS, AZURE, GCP, CredentialKind
from llmgateway_server.providers.credentials.settings import CredentialSettings
from llmgateway_server.providers.vendors import VENDORS
from tests.unit.providers.cloud_kit import private_key, service_account_file

PAGE = Path(__file__).parents[3] / "docs" / "credentials.md"
CANARY = "sk-canary"
KEYS = {"AWS_ACCESS_KEY_ID": CANARY, "AWS_SECRET_ACCESS_KEY": CANARY}


def file(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(folder: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    """Returns what check-config tells of the provider `p`, with lines."""
    path = file(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_usable(path, environment or {})
    assert CANARY not in str(caught.value)
    return [line.removeprefix(f"{path}:").replace("providers.p.", "") for line in str(caught.value).splitlines()]


def account(vendor: str, *lines: str) -> str:
    return "\n".join(["providers:", "  p:", f"    vendor: {vendor}", *(f"    {line}" for line in lines)])


def amazon(*lines: str) -> str:
    return account("bedrock", "region: eu-central-1", "credential:", *(f"  {line}" for line in lines))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            account("openai", "credential: {kind: aws_static}"),
            "4: credential: must be of a kind that the vendor takes:",
        ),
        (account("vertex", "region: x", "project: x", "credential: {kind: azure_client}"), "6: credential: must be of"),
        (account("simulator", "credentials: [{kind: aws_static}]"), "4: credentials: must be of a kind"),
        (amazon("kind: aws"), "6: credential.kind: must be one of 'aws_static', "),
        (amazon("url: x"), "5: credential.kind: is required"),
        (amazon("kind: aws_metadata", "tenant_id: x"), "7: credential.tenant_id: tenant_id is not for aws_metadata"),
        (amazon("kind: aws_metadata", "secret: x"), "7: credential.secret: there is no such setting"),
        (amazon("kind: aws_static", "access_key_id: x"), "5: credential.secret_access_key: is required, or the envi"),
        (
            amazon("kind: aws_static", f"access_key_id: {CANARY}", "secret_access_key: env:GONE"),
            "8: credential.secret_",
        ),
        (amazon("kind: aws_web_identity"), "5: credential.role_arn: is required, or the environment variable AWS_ROLE"),
        (
            amazon("kind: aws_web_identity", "role_arn: x", "token_file: /gone"),
            "8: credential.token_file: cannot be read",
        ),
        (amazon("kind: aws_metadata", "url: ftp://x"), "7: credential.url: must be an http or https address"),
        (amazon("kind: aws_metadata", "url: 'http://u:p@x'"), "7: credential.url: must be an http or https address"),
        (amazon("kind: aws_container"), "5: credential.url: is required where the environment of the container does"),
        (amazon("kind: aws_profile", "file: /gone"), "5: credential.profile: there are no keys for it in the files of"),
        (
            account("bedrock", "base_url: 'http://x'", "credential: {kind: aws_metadata}"),
            "2: region: is required to sign requests",
        ),
        (
            account("bedrock", "region: x", "credentials:", "  - kind: aws_metadata", "  - kind: aws_static"),
            "7: credent",
        ),
        (
            account("azure", "base_url: 'http://x'", "credential: {kind: azure_client, tenant_id: t}"),
            "5: credential.client_id: is required, or the environment variable AZURE_CLIENT_ID",
        ),
        (
            account("azure", "base_url: 'http://x'", f"api_key: {CANARY}", "credential: {kind: azure_client}"),
            "6: credential: api_key and credential cannot both be set",
        ),
        (
            account("azure", "base_url: 'http://x'", f"api_keys: [{CANARY}]", "credentials: [{kind: azure_client}]"),
            "6: credentials: api_keys and credentials cannot both be set",
        ),
        (account("vertex", "region: x", "project: x", "credential: {kind: gcp_service_account}"), "6: credential.file"),
        (
            account("vertex", "region: x", "project: x", "credential: {kind: gcp_user, file: /gone}"),
            "6: credential.file: cannot be read",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    found = mistakes(tmp_path, text)
    assert [each[: len(told)] for each in found] == [told]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not JSON"),
        ('{"type": "external_account"}', "must have the type service_account"),
        ('{"type": "service_account", "private_key": "x"}', "must have a client_email"),
        ('{"type": "service_account", "client_email": "x", "private_key": "sk-canary"}', "must have a private_key of"),
    ],
)
def test_a_key_file_is_looked_at(content: str, told: str, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text(content)
    text = account("vertex", "region: x", "project: x", f"credential: {{kind: gcp_service_account, file: {key}}}")
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(f"6: credential.file: {told}")


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = service_account_file(tmp_path, private_key()[1], "https://x/token")
    text = account("vertex", "region: x", "project: x", f"credential: {{kind: gcp_service_account, file: {key}}}")
    assert load_usable(file(tmp_path, text), {}).settings.providers["p"].credential is not None
    there = builtins.__import__

    def without_jwt(name: str, *rest: Any, **more: Any) -> Any:
        if name == "jwt":
            raise ImportError(name=name)
        return there(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_jwt)
    (found,) = mistakes(tmp_path, text)
    assert found == "6: credential: the extra `vertex` is not installed, there is no jwt"


@pytest.mark.parametrize("form", ["yaml", "json", "origins"])
def test_secrets_are_masked_and_references_are_shown(form: str, tmp_path: Path) -> None:
    text = amazon("kind: aws_static", f"access_key_id: {CANARY}", "secret_access_key: env:SECRET") + account(
        "azure",
        "base_url: 'http://x'",
        "credentials:",
        f"  - {{kind: azure_client, tenant_id: t, client_id: c, client_secret: {CANARY}}}",
    ).removeprefix("providers:").replace("  p:", "  q:")
    loaded = load(file(tmp_path, text), {})
    shown = {
        "yaml": as_yaml(loaded, origins=True),
        "json": json.dumps(as_document(loaded)),
        "origins": json.dumps(as_origins(loaded)),
    }[form]
    assert CANARY not in shown
    assert "env:SECRET" in shown
    assert shown.count("***") == 2


def test_variables_of_the_clouds_stand_for_what_accounts_do_not_say(tmp_path: Path) -> None:
    text = (
        "providers:\n  a: {vendor: bedrock}\n  b: {vendor: bedrock-anthropic, region: own}\n"
        "  c: {vendor: vertex}\n  d: {vendor: openai, base_url: 'http://x'}\n"
    )
    variables = {
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "no-where-1",
        "GOOGLE_CLOUD_PROJECT": "mine",
        "GOOGLE_CLOUD_LOCATION": "europe-west4",
    }
    loaded = load(file(tmp_path, text), variables)
    found = {name: (each.region, each.project) for name, each in loaded.settings.providers.items()}
    assert found == {"a": ("eu-west-1", ""), "b": ("own", ""), "c": ("europe-west4", "mine"), "d": ("", "")}
    assert str(loaded.document.origin(("providers", "a", "region"))) == "AWS_REGION"
    del variables["AWS_REGION"]
    assert load(file(tmp_path, text), variables).settings.providers["a"].region == "no-where-1"


@pytest.mark.parametrize("token", [{}, {"AWS_SESSION_TOKEN": CANARY}])
def test_an_account_of_amazon_without_a_key_gets_those_of_the_environment(
    token: dict[str, str], tmp_path: Path
) -> None:
    environment = {**KEYS, **token, "AWS_REGION": "eu-west-1"}
    loaded = load_usable(file(tmp_path, "providers: {a: {vendor: bedrock}}"), environment)
    found = loaded.settings.providers["a"].credential
    assert found is not None
    assert found.model_dump(exclude_defaults=True) == {
        "kind": CredentialKind.AWS_STATIC,
        "access_key_id": "env:AWS_ACCESS_KEY_ID",
        "secret_access_key": "env:AWS_SECRET_ACCESS_KEY",
        **({"session_token": "env:AWS_SESSION_TOKEN"} if token else {}),
    }
    App(loaded.settings, environment)


@pytest.mark.parametrize(
    ("own", "environment"),
    [
        ("", {"AWS_ACCESS_KEY_ID": "x"}),
        (", base_url: 'http://x'", KEYS),
        (", api_key: x", KEYS),
        (", credential: {kind: aws_metadata}", KEYS),
        (", credentials: [{kind: aws_metadata}]", KEYS),
        ("", {**KEYS, "AWS_BEARER_TOKEN_BEDROCK": "x"}),
    ],
)
def test_those_stand_below_everything_else(own: str, environment: dict[str, str], tmp_path: Path) -> None:
    path = file(tmp_path, f"providers: {{a: {{vendor: bedrock, region: x{own}}}}}")
    found = load(path, environment).settings.providers["a"].credential
    assert found is None or found.kind is CredentialKind.AWS_METADATA


def test_without_a_file_only_what_has_an_address_is_offered() -> None:
    environment = {"AWS_BEARER_TOKEN_BEDROCK": "x", "AZURE_OPENAI_API_KEY": "x"}
    assert list(load(None, environment).settings.providers) == ["simulator"]
    found = load(None, {**environment, "AWS_REGION": "eu-west-1"}).settings.providers
    assert {name: each.region for name, each in found.items()} == {"simulator": "", "bedrock": "eu-west-1"}


def test_one_value_can_come_from_the_environment(tmp_path: Path) -> None:
    text = amazon("kind: aws_static", "access_key_id: x")
    variable = {"LLMGATEWAY__PROVIDERS__P__CREDENTIAL__SECRET_ACCESS_KEY": "env:THERE", "THERE": CANARY}
    found = load_usable(file(tmp_path, text), variable).settings.providers["p"].credential
    assert found is not None
    assert found.secret_access_key == "env:THERE"


def test_nothing_is_imported_that_no_kind_in_use_needs(tmp_path: Path) -> None:
    path = file(tmp_path, amazon("kind: aws_metadata"))
    code = (
        "import sys; from pathlib import Path; from llmgateway_server.app import App;"
        "from llmgateway_server.config.load import load_usable;"
        "App(load_usable(Path(sys.argv[1]), {}).settings, {});"
        "print(sorted({'jwt', 'cryptography', 'botocore', 'boto3', 'google.auth'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_kind_has_a_recipe_whose_fields_are_settings() -> None:
    assert set(RECIPES) == set(CredentialKind) == AWS | GCP | AZURE
    named = {field for recipe in RECIPES.values() for field in recipe.fields}
    assert named == set(CredentialSettings.model_fields) - {"kind"}
    assert named > SECRETS
    for recipe in RECIPES.values():
        assert {*recipe.needs, *recipe.defaults} <= set(recipe.fields)


def test_every_vendor_of_a_cloud_takes_all_of_its_kinds() -> None:
    taken = {name: vendor.credentials for name, vendor in VENDORS.items() if vendor.credentials}
    assert taken == {
        "bedrock": AWS,
        "bedrock-anthropic": AWS,
        "vertex": GCP,
        "vertex-anthropic": GCP,
        "azure": AZURE,
    }


def test_the_page_has_every_setting_with_its_variable_and_default() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    said: dict[str, dict[str, list[str]]] = {}
    kind = ""
    for first, *rest in rows:
        kind = first.partition(":")[0].strip("`") or kind
        if kind in RECIPES and len(rest) == 3:
            said.setdefault(kind, {})[rest[0].strip("`")] = rest[1:]
    for name, recipe in RECIPES.items():
        assert list(said[name]) == list(recipe.fields)
        for field, (variable, default) in said[name].items():
            assert variable.strip("`") == recipe.fields[field]
            assert default.strip("`") == recipe.defaults.get(field, default.strip("`"))
            assert (default == "required") == (field in recipe.needs)
