"""The container files, without an engine: by schema, by linter, and by what must hold between the files."""

import json
import re
import shlex
import subprocess
import sys
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.settings import Settings
from tests.support.artifacts import KAFKA_VERSION, MINIO_VERSION

_REPOSITORY = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent
_VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?+][^}]*)?\}")
_DOCKERFILES = ("Dockerfile", "deploy/minio/Dockerfile")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """docker-compose.yml as Compose would read it, before variables are put in."""
    document: dict[str, Any] = yaml.safe_load((_REPOSITORY / "docker-compose.yml").read_text())
    return document


def _services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = compose["services"]
    return services


def test_the_compose_file_follows_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = files("check_jsonschema.builtin_schemas").joinpath("vendor/compose-spec.json").read_text()
    jsonschema.Draft7Validator(json.loads(schema)).validate(compose)


def test_the_parts_that_the_issue_names_are_there_and_every_long_running_one_says_whether_it_is_well(
    compose: dict[str, Any],
) -> None:
    services = _services(compose)
    assert set(services) == {"kafka", "postgres", "minio", "migrate", "worker", "prometheus"}
    image_says = "HEALTHCHECK" in (_REPOSITORY / "Dockerfile").read_text()
    for name in set(services) - {"migrate"}:
        assert "test" in services[name].get("healthcheck", {}) or (name == "worker" and image_says)


def test_every_port_is_published_on_loopback_only(compose: dict[str, Any]) -> None:
    published = [port for service in _services(compose).values() for port in service.get("ports", [])]
    assert published
    for port in published:
        address, host_ports, container_port = port.split(":")
        assert ip_address(address).is_loopback, port
        assert host_ports
        assert container_port.isdecimal()


def test_two_workers_start_and_more_find_a_port_of_their_own(compose: dict[str, Any]) -> None:
    worker = _services(compose)["worker"]
    assert worker["deploy"]["replicas"] == 2
    assert "container_name" not in worker
    (port,) = worker["ports"]
    first, last = (int(number) for number in port.split(":")[1].split("-"))
    assert last - first + 1 >= 8
    # A folder for each: the volume has no name, so it is not shared.
    assert all(":" not in volume for volume in worker["volumes"])


def test_no_secret_has_a_default(compose: dict[str, Any]) -> None:
    secret = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|DSN|ROOT_USER")
    variables = {
        f"{name}.{variable}": str(value)
        for name, service in _services(compose).items()
        for variable, value in service.get("environment", {}).items()
        if secret.search(variable)
    }
    assert len(variables) >= 6
    for where, value in variables.items():
        given = _VARIABLE.search(value)
        assert given is not None, f"{where} is written out"
        assert ":?" in given[0], f"{where} has a default, or may be empty"


def test_the_example_of_the_env_file_names_every_variable_and_gives_no_value(compose: dict[str, Any]) -> None:
    text = (_REPOSITORY / "docker-compose.yml").read_text()
    lines = (_REPOSITORY / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(given) == {match[1] for match in _VARIABLE.finditer(text)}
    assert set(given.values()) == {""}


def test_the_settings_in_the_compose_file_are_settings_that_the_worker_knows_and_takes(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("worker", "migrate"):
        for variable, value in _services(compose)[name]["environment"].items():
            assert variable.removeprefix("CLEARCALL_").lower() in Settings.model_fields, variable
            monkeypatch.setenv(variable, _VARIABLE.sub("given", str(value)))
    settings = Settings()
    assert settings.dsn == "postgresql://clearcall:given@postgres:5432/clearcall"
    assert settings.kafka_bootstrap == "kafka:19092"
    assert settings.sources == {"*": ("s3://recordings",)}


@pytest.mark.parametrize("name", ["worker", "migrate", "minio", "prometheus"])
def test_what_we_build_ourselves_cannot_write_its_root_nor_gain_privileges(
    compose: dict[str, Any], name: str
) -> None:
    service = _services(compose)[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("dockerfile", _DOCKERFILES)
def test_an_image_of_ours_runs_as_nobody_in_particular(dockerfile: str) -> None:
    users = re.findall(r"^USER (\S+)$", (_REPOSITORY / dockerfile).read_text(), re.MULTILINE)
    assert users
    assert int(users[-1].split(":")[0]) > 0


def test_the_workers_time_to_end_is_longer_than_the_worker_takes(compose: dict[str, Any]) -> None:
    assert int(_services(compose)["worker"]["stop_grace_period"].removesuffix("s")) > 30


def test_every_image_is_pinned_to_a_version(compose: dict[str, Any]) -> None:
    images = [service["image"] for service in _services(compose).values() if "build" not in service]
    for dockerfile in _DOCKERFILES:
        text = (_REPOSITORY / dockerfile).read_text()
        images += re.findall(r"^(?:FROM |ARG PYTHON_IMAGE=)(\S+)", text, re.MULTILINE)
    pinned = [image for image in images if not image.startswith("$")]
    assert len(pinned) >= 6
    for image in pinned:
        assert re.search(r":v?\d+\.\d+", image), image


def test_the_parts_have_the_versions_that_the_tests_run_on(compose: dict[str, Any]) -> None:
    assert _services(compose)["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert f"ARG MINIO_VERSION={MINIO_VERSION}\n" in (_REPOSITORY / "deploy/minio/Dockerfile").read_text()


def test_the_image_is_made_by_the_same_steps_as_the_makefiles_environment() -> None:
    makefile = _pip_installs((_REPOSITORY / "Makefile").read_text())
    image = _pip_installs((_REPOSITORY / "Dockerfile").read_text())
    assert ["--quiet", "--require-hashes", "--requirement", "requirements/runtime.txt"] in image
    assert ["--quiet", "--require-hashes", "--requirement", "requirements/embedded.txt"] in makefile
    own_package = ["--quiet", "--no-deps", "--no-build-isolation"]
    assert [*own_package, "."] in image
    assert [*own_package, "--editable", "."] in makefile
    assert all("--require-hashes" in words or "--no-deps" in words for words in makefile + image)


def test_the_image_takes_nothing_that_the_ignore_file_keeps_out() -> None:
    allowed = {
        line.removeprefix("!").rstrip("/")
        for line in (_REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (_REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    copied = {source.rstrip("/") for line in copies for source in line.split()}
    assert copied == allowed
    assert all((_REPOSITORY / source).exists() for source in copied)


def test_the_image_at_the_end_has_no_compiler() -> None:
    build, end = re.split(r"^FROM ", (_REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    assert " gcc " in build
    assert not re.search(r"gcc|apt-get|ziglang", end)


def test_the_images_bytecode_is_compiled_beforehand() -> None:
    dockerfile = (_REPOSITORY / "Dockerfile").read_text()
    assert "-m compileall" in dockerfile
    assert "PYTHONDONTWRITEBYTECODE=1" in dockerfile


def test_prometheus_looks_for_the_workers_where_they_are(compose: dict[str, Any]) -> None:
    settings = yaml.safe_load((_REPOSITORY / "deploy/prometheus.yml").read_text())
    (job,) = settings["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert discovery["names"] == ["worker"]
    assert str(discovery["port"]) == _services(compose)["worker"]["environment"]["CLEARCALL_WEB_PORT"]
    mounted = [volume.split(":")[0] for volume in _services(compose)["prometheus"]["volumes"]]
    assert "./deploy/prometheus.yml" in mounted


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", *_DOCKERFILES],
        ["yamllint", "--strict", "docker-compose.yml", "deploy", ".pre-commit-config.yaml", "dsp/chains"],
        ["pre-commit", "validate-config"],
    ],
    ids=lambda command: str(command[0]),
)
def test_the_linters_find_nothing(command: list[str]) -> None:
    program, *arguments = command
    done = subprocess.run(  # noqa: S603
        [_BIN / program, *arguments], cwd=_REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_hooks_run_programs_of_the_environment_and_verbs_of_the_makefile() -> None:
    settings = yaml.safe_load((_REPOSITORY / ".pre-commit-config.yaml").read_text())
    verbs = set(re.findall(r"^([a-z-]+):", (_REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for repository in settings["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            program, *arguments = shlex.split(hook["entry"])
            if program == "make":
                assert arguments[-1] in verbs
            else:
                assert (_BIN / Path(program).name).exists()


@pytest.mark.parametrize("name", ["runtime", "embedded", "dev", "compiler"])
def test_requirements_are_exact_hashed_and_name_no_index(name: str) -> None:
    text = (_REPOSITORY / f"requirements/{name}.txt").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index|--extra-index|--find-links|--trusted)", text, re.MULTILINE)
    for requirement in text.replace("\\\n", " ").splitlines():
        assert re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?==\S+ ", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement


def test_the_demos_packages_are_a_part_of_developments_with_the_same_versions() -> None:
    def pins(name: str) -> set[str]:
        text = (_REPOSITORY / f"requirements/{name}.txt").read_text()
        return set(re.findall(r"^[A-Za-z0-9._-]+==[^\s;]+", text, re.MULTILINE))

    assert pins("runtime") < pins("embedded") < pins("dev")


def _pip_installs(text: str) -> list[list[str]]:
    """The arguments of every ``pip install`` into the environment itself."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"(?:\$\(BIN\)|/opt/clearcall/bin)/pip install ([^&\n]+)", joined)
    return [shlex.split(arguments) for arguments in found]
