"""Checks everything in deploy/ without a container engine: `python -m deploy.check`, at the top of the project.

hadolint, docker-compose and yamllint come with the development requirements, promtool from Debian's `prometheus`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import yaml

from deploy import dashboards
from gateway.telemetry.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TOP: Final = Path(__file__).resolve().parent.parent
DEPLOY: Final = TOP / "deploy"
RULES: Final = DEPLOY / "prometheus" / "alerts.yml"
RULE_TESTS: Final = DEPLOY / "prometheus" / "alerts.test.yml"
TOOL_TIMEOUT_S: Final = 60
_SECRETS: Final = ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "GRAFANA_PASSWORD", "GATEWAY_SECRET_KEY")


def tool(name: str) -> str:
    """Find a program beside this Python or on the path; raises FileNotFoundError that says where it comes from."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        source = "apt-get install prometheus" if name == "promtool" else "pip install -r requirements-dev.txt"
        message = f"{name} is missing: {source}"
        raise FileNotFoundError(message)
    return found


def run(*command: str | Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """Run a tool at the top of the project; give what it printed, as one problem, if it failed."""
    name, *arguments = map(str, command)
    done = subprocess.run(  # noqa: S603  # a fixed list of our own tools
        [tool(name), *arguments],
        cwd=TOP,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TOOL_TIMEOUT_S,
        check=False,
    )
    return [done.stdout.strip() or f"exit status {done.returncode}"] if done.returncode else []


def check_dockerfile() -> list[str]:
    """Lint the Dockerfile."""
    return run("hadolint", DEPLOY / "Dockerfile")


def check_compose() -> list[str]:
    """Validate the compose file, with every secret set; and make sure that an unset one is refused."""
    command = ("docker-compose", "-f", DEPLOY / "compose.yaml", "--env-file", "/dev/null", "config", "-q")
    environ = dict.fromkeys(_SECRETS, "x")
    problems = run(*command, environ=environ)
    for secret in _SECRETS:
        if not run(*command, environ={name: value for name, value in environ.items() if name != secret}):
            problems.append(f"compose.yaml starts without {secret}; expected it to be required")
    return problems


def check_yaml() -> list[str]:
    """Lint the YAML here and the settings files."""
    return run("yamllint", "-s", "-c", DEPLOY / "yamllint.yml", DEPLOY, TOP / "gateway.yaml", TOP / "config")


def check_prometheus() -> list[str]:
    """Check Prometheus' configuration and rules, and run the rules' tests."""
    rules = yaml.safe_load(RULES.read_text())
    return [
        *run("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml"),
        *run("promtool", "test", "rules", RULE_TESTS),
        *dashboards.rule_problems(rules, dashboards.exported_series(METRICS)),
        *dashboards.untested_alerts(rules, yaml.safe_load(RULE_TESTS.read_text())),
    ]


def check_dashboards() -> list[str]:
    """Check the dashboards' panels, and let promtool parse all of their expressions as recording rules."""
    problems: list[str] = []
    rules: list[dict[str, Any]] = []
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        problems += dashboards.dashboard_problems(path.name, dashboard, dashboards.exported_series(METRICS))
        for number, (title, expression) in enumerate(dashboards.expressions(dashboard)):
            rules.append({"record": f"panel:{number}", "expr": expression, "labels": {"panel": title}})
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "panels.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        return problems + run("promtool", "check", "rules", file)


CHECKS: Final[Mapping[str, Callable[[], list[str]]]] = {
    "Dockerfile": check_dockerfile,
    "compose": check_compose,
    "YAML": check_yaml,
    "Prometheus": check_prometheus,
    "dashboards": check_dashboards,
}


def main() -> int:
    """Run all checks and report each; the exit status is 1 if one of them found something."""
    failed = False
    for name, check in CHECKS.items():
        try:
            problems = check()
        except FileNotFoundError as error:
            problems = [str(error)]
        failed = failed or bool(problems)
        click.echo(f"{name}: {'ok' if not problems else 'failed'}")
        for problem in problems:
            click.echo(f"  {problem}", err=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
