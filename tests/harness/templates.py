"""The CloudFormation templates as data, for tests and stand-ins that do what they say."""

from typing import Any

import yaml

from prepare.store import ROOT

AWS = ROOT / "manifests" / "aws"


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's tags as what they stand before."""


def _tagged(loader: Any, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _tagged)


def template(name: str) -> dict[str, Any]:
    """The resources of a template, by their logical names."""
    found = yaml.load((AWS / name).read_text(), Loader)  # noqa: S506  a safe loader with tags
    resources: dict[str, Any] = found["Resources"]
    return resources


def rule_pattern(path: str) -> dict[str, Any]:
    """The event pattern of the rule, for parameters below `path`."""
    pattern: dict[str, Any] = template("template.yaml")["Rule"]["Properties"]["EventPattern"]
    assert pattern["detail"]["name"] == [{"prefix": {"Sub": "${ParameterPath}/"}}]
    return {**pattern, "detail": {**pattern["detail"], "name": [{"prefix": f"{path}/"}]}}


def stream_pattern() -> str:
    """The filter of the event source mapping."""
    (filtered,) = template("template.yaml")["Stream"]["Properties"]["FilterCriteria"]["Filters"]
    return str(filtered["Pattern"])
