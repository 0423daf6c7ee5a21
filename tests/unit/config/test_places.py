from pathlib import Path

import pytest

from llmgateway_server.config.load import ConfigError, from_file
from llmgateway_server.providers.vendors import VENDORS


def mistakes(folder: Path, text: str) -> list[str]:
    file = folder / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        from_file(file)
    return [line.removeprefix(str(folder) + "/") for line in str(caught.value).splitlines()]


def test_all_mistakes_are_told_at_once_by_line(tmp_path: Path) -> None:
    text = """\
server:
  listen: 0.0.0.0:1
  graze_s: 5
models:
  fast:
    targets:
      - {provider: opnai, model: x}
      - provider: openai
        modle: y
providers:
  openai:
    vendor: open-ai
    api_keys: [a]
    api_key: sk-canary
  two words:
    vendor: openai-compatible
timeouts: 7
egress:
  denied_networks: [here]
  ports: []
zebra_crossing: 1
"""
    found = mistakes(tmp_path, text)
    assert "canary" not in "".join(found)
    assert [line.split(": ")[0:2] for line in found] == [
        ["gateway.yaml:2", "server.listen"],
        ["gateway.yaml:3", "server.graze_s"],
        ["gateway.yaml:7", "models.fast.targets[0].provider"],
        ["gateway.yaml:8", "models.fast.targets[1].model"],
        ["gateway.yaml:9", "models.fast.targets[1].modle"],
        ["gateway.yaml:12", "providers.openai.vendor"],
        ["gateway.yaml:13", "providers.openai.api_keys"],
        ["gateway.yaml:15", "providers.two words"],
        ["gateway.yaml:15", "providers.two words.base_url"],
        ["gateway.yaml:17", "timeouts"],
        ["gateway.yaml:19", "egress.denied_networks[0]"],
        ["gateway.yaml:20", "egress.ports"],
        ["gateway.yaml:21", "zebra_crossing"],
    ]
    said = {line.split(": ")[1]: line.split(": ", 2)[2] for line in found}
    assert said["server.graze_s"] == "there is no such setting; did you mean grace_s?"
    assert said["models.fast.targets[0].provider"] == "there is no such provider; did you mean openai?"
    assert said["models.fast.targets[1].model"] == "is required"
    assert said["models.fast.targets[1].modle"] == "there is no such setting; did you mean model?"
    assert said["providers.openai.vendor"] == f"must be one of {', '.join(['simulator', *VENDORS, 'python'])}"
    assert said["timeouts"] == "must be names with values"
    assert "there are: server, " in said["zebra_crossing"]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: b: c", "1:5", "mapping values are not allowed here"),
        ("server:\n  listen: [", "2:12", "expected the node content"),
        ("server:\n  grace_s: 1\n  grace_s: 2", "3:3", "stands there twice"),
        ("a: *canary", "1:4", "undefined alias …"),
        ("a: !canary 5", "1:4", ""),
        ("a: 1\n--- \nb: 2", "2:1", "another document"),
    ],
)
def test_what_is_not_yaml_is_told_with_line_and_column(tmp_path: Path, text: str, place: str, words: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(f"gateway.yaml:{place}: not readable as YAML")
    assert words in found
    assert "canary" not in found


def test_a_secret_in_the_place_of_a_name_is_not_shown(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "providers:\n  p: {vendor: simulator, sk-canary-0123: }")
    assert found.startswith("gateway.yaml:2: providers.p.?: there is no such setting; there are: vendor, ")


@pytest.mark.parametrize("text", ["server:\nauth:\n  keys:\nproviders:\nmodels:\n", "# nothing\n", "server: {}"])
def test_sections_without_lines_are_empty(tmp_path: Path, text: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    assert from_file(file).providers == {}


def test_names_that_look_like_numbers_and_dates_that_look_like_text(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "providers: {4: &s {vendor: simulator}, again: *s, merged: {<<: *s}}\n"
        "models: \n  m: {targets: [{provider: '4', model: x, "
        "price: {input_usd: 1, output_usd: 1, version: 2026-01-02}}]}",
        encoding="utf-8",
    )
    settings = from_file(file)
    assert list(settings.providers) == ["4", "again", "merged"]
    price = settings.models["m"].targets[0].price
    assert price is not None
    assert price.version == "2026-01-02"


def test_aliases_cannot_fill_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (found,) = mistakes(tmp_path, "\n".join(lines))
    assert "not readable as YAML" in found
