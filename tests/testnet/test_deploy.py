"""What deploys nodes beyond one machine: schemas, and that it names what is really there.

What: Kubernetes manifests, the compose file, Prometheus' targets, rules and dashboard, the Dockerfile. How:
the published schemas of Kubernetes and of compose; where there is `kubectl`, it builds the overlays too.
"""

import json
import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose
from kubernetes_validate.utils import SchemaNotFoundError
from typer.main import get_command

from p2pai.cli.main import app
from p2pai.shell import metrics
from testnet.devnet.eight import PLANS

DEPLOY = Path(__file__).parents[2] / "testnet" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
VERSIONS = ("1.31.0", "1.34.0")
PEER = "12D3KooWFuugcKoJfwfcHcyCd166cCeHFT6X4LgAj3cLA6qaXNsP"

DOCUMENTS = [
    pytest.param(document, id=f"{path.relative_to(DEPLOY)}:{i}")
    for path in sorted(DEPLOY.rglob("*.yaml"))
    for i, document in enumerate(yaml.safe_load_all(path.read_text()))
    if document is not None and "kind" in document and document["kind"] not in ("Kustomization", "Component")
]
KUSTOMIZATIONS = sorted(DEPLOY.rglob("kustomization.yaml"))


def start_options():
    command = get_command(app).commands["start"]
    return {name for parameter in command.params for name in parameter.opts}


def options_in(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def containers(document):
    template = document.get("spec", {}).get("template", {}).get("spec", {})
    return template.get("containers", [])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_resources_and_patches_have_only_fields_that_kubernetes_knows(document, version):
    if not is_patch(document):
        kubernetes_validate.validate(document, version, strict=True)
        return
    with pytest.raises(kubernetes_validate.ValidationError) as caught:
        kubernetes_validate.validate(document, version, strict=True)
    # A patch need not be whole, and may take something away.
    left = [e for e in leaves(caught.value) if e.validator != "required" and "$patch" not in str(e.instance)]
    assert [e for e in left if e.instance is not None] == []


def is_patch(document):
    return document["kind"] == "StatefulSet" and "serviceName" not in document["spec"]


def leaves(error):
    return [leaf for part in error.context for leaf in leaves(part)] or [error]


def test_a_misspelt_field_would_be_found():
    document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"selectr": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    with pytest.raises(SchemaNotFoundError):
        kubernetes_validate.validate({**document, "kind": "Servce"}, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda p: str(p.parent.relative_to(DEPLOY)))
def test_kustomizations_name_what_is_there_or_what_prepare_makes(path):
    content = yaml.safe_load(path.read_text())
    generators = [*content.get("secretGenerator", []), *content.get("configMapGenerator", [])]
    named = [*content.get("resources", []), *(patch["path"] for patch in content.get("patches", []))]
    made = [name for one in generators for name in (*one.get("files", []), *one.get("envs", []))]
    ignored = path.with_name(".gitignore")
    ready = ignored.read_text().split() if ignored.exists() else []
    for name in (*named, *made):
        assert name in ready or (path.parent / name).exists(), name


def test_the_compose_file_is_one_and_starts_the_nodes_of_the_demonstration():
    PyCompose.from_yaml(yaml.safe_dump(compose()))  # with the merge keys resolved, which it doesn't know
    nodes = {}
    for name, service in compose()["services"].items():
        words = service.get("command", [])
        if "--dev-account" in words:
            roles = tuple(after for word, after in pairwise(words) if word == "--role")
            nodes[int(words[words.index("--dev-account") + 1])] = roles
            assert f"{name}:/data" in service["volumes"]
    assert nodes == {plan.account: plan.roles for plan in PLANS}


def test_a_compose_file_with_an_unknown_kind_of_value_would_be_found():
    with pytest.raises(ValueError):
        PyCompose.from_yaml("services: {a: {image: [1]}}")


def test_options_of_all_started_nodes_exist():
    lines = [
        " ".join(service.get("entrypoint", []) + service.get("command", []))
        for service in compose()["services"].values()
        if service["image"] == "p2pai"
    ]
    lines += [
        " ".join(container["command"]) + " ".join(e.get("value") or "" for e in container.get("env", []))
        for parameter in DOCUMENTS
        for container in containers(parameter.values[0])
        if "p2pai start" in " ".join(container.get("command", []))
    ]
    lines.append(" ".join(json.loads(instruction("CMD", "start"))))
    assert len(lines) > 10
    for line in lines:
        assert options_in(line) <= start_options(), line


def instruction(name, marker):
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    (line,) = [line for line in lines if line.startswith(name) and marker in line]
    return line.removeprefix(name)


def test_the_dockerfile_copies_what_is_there_and_exposes_what_nodes_listen_on():
    root = DEPLOY.parents[1]
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY") and "--from" not in line:
            assert all((root / name).exists() for name in shlex.split(line)[1:-1]), line
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert {f"!{name}" for name in ("p2pai", "testnet", "pyproject.toml", "README.md", "LICENSE")} <= set(
        kept
    )
    assert instruction("EXPOSE", "").split() == ["4001", "9464"]


def test_prometheus_scrapes_every_node_of_the_compose_file():
    content = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = content["scrape_configs"]
    nodes = [n for n, s in compose()["services"].items() if s["image"] == "p2pai" and n != "identity"]
    assert sorted(job["static_configs"][0]["targets"]) == sorted(f"{name}:9464" for name in nodes)


def test_rules_and_dashboard_ask_for_metrics_that_nodes_have():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = json.loads((DEPLOY / "grafana" / "p2pai.json").read_text())
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"\b(?:p2pai|process)_\w+", expression)}
    assert len(names) > 8
    assert names <= metric_names()


def metric_names():
    class Node:
        def query(self, method, params):
            pool = {"count": 0, "bytes": 0}
            numbers = {"height": 0, "time": 0, "ticket_price": 0, "side_branches": [], "mempool": pool}
            return {"chain": "", "chain_id": "", "checkpoint": {"height": 0}, "tasks": {}, **numbers}

    registry = metrics.make_registry(Node(), lambda: 0, [])
    families = list(registry.collect())
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_kubectl_builds_the_overlays(tmp_path):
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    overlays = tmp_path / "deploy" / "kubernetes" / "overlays"
    made = {
        "devnet": {"identity.key": "key", "network.env": f"BOOTSTRAP_ID={PEER}\n"},
        "joining": {"keys.json": "{}", "password": "x", "network.env": "CHAIN=devnet\nBOOTSTRAP=/dns4/a\n"},
    }
    for name, files in made.items():
        for file, text in files.items():
            (overlays / name / file).write_text(text)
        command = ["kubectl", "kustomize", str(overlays / name)]
        built = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        documents = [document for document in yaml.safe_load_all(built) if document]
        assert len(documents) > 5
        for document in documents:
            kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
            assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "p2pai"
