"""Kubernetes: manifests of pods in which the nginx that is rendered for it carries the requests and asks its gateway.

The annotations of ingress controllers and the filters of the Gateway API cannot say all that has to be said: which
upstream and target were decided on, which fields are removed by their beginnings, and which status a refusal has. So
an Ingress, or a route of the Gateway API, leads to these pods, and nothing of the decision is left to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from gateway.render.nginx import nginx_configuration
from gateway.render.text import comments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.render.front import Front

NGINX: Final = "nginxinc/nginx-unprivileged:1.29"
_USER: Final = 10001
_LABELS: Final = {"app.kubernetes.io/name": "gateway"}
_WRITABLE: Final = {"tmp": "/tmp", "nginx-cache": "/var/cache/nginx"}  # noqa: S108  # in the container, of its own
_LOCKED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def kubernetes_manifests(front: Front, *, settings: str, image: str, port: int) -> str:
    """Give the text of the manifests: *settings* is the text of gateway.yaml, *image* the gateway's.

    nginx listens on *port*; the Service has it as 80. Raises NotRenderable.
    """
    documents = [
        _config_map({"gateway.yaml": settings, "nginx.conf": nginx_configuration(front)}),
        _pods(front, image, port),
        _service(),
        _ingress(),
    ]
    head = [
        *comments(f"Written by `gateway render k8s` from the settings of version {front.snapshot.version}. Change"),
        *comments("gateway.yaml and write it again. Before the first `kubectl apply -f`:"),
        *comments(
            "  kubectl create secret generic gateway --from-literal=DATABASE_URL=... --from-literal=REDIS_URL=..."
        ),
        *comments("    --from-literal=GATEWAY_SECRET_KEY=...   (and whatever else ${...} of gateway.yaml names)"),
        *comments("and put the name of your host, and TLS, into the Ingress."),
    ]
    texts = [yaml.dump(document, Dumper=_Readable, sort_keys=False, width=1000) for document in documents]
    return "\n".join(head) + "\n---\n" + "---\n".join(texts)


class _Readable(yaml.SafeDumper):
    """Writes files as they are, line by line."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _named(kind: str, version: str, name: str = "gateway") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": _labels()}}


def _labels() -> dict[str, str]:
    return dict(_LABELS)


def _config_map(files: dict[str, str]) -> dict[str, Any]:
    # What ends in blanks cannot be written line by line.
    return {**_named("ConfigMap", "v1"), "data": {name: _trimmed(text) for name, text in files.items()}}


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.expandtabs(4).split("\n"))


def _pods(front: Front, image: str, port: int) -> dict[str, Any]:
    """Give a StatefulSet: each instance has a disk of its own for its usage journal."""
    pod = {
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "containers": [_gateway(front, image), _nginx(front, port)],
        "volumes": list(_volumes(front)),
    }
    disk = {
        "metadata": {"name": "state"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }
    spec = {
        "serviceName": "gateway",
        "replicas": 2,
        "selector": {"matchLabels": _labels()},
        "template": {"metadata": {"labels": _labels()}, "spec": pod},
        "volumeClaimTemplates": [disk],
    }
    return {**_named("StatefulSet", "apps/v1"), "spec": spec}


def _gateway(front: Front, image: str) -> dict[str, Any]:
    mounts = [
        {"name": "files", "mountPath": "/etc/gateway", "readOnly": True},
        {"name": "state", "mountPath": "/var/lib/gateway"},
        {"name": "tmp", "mountPath": _WRITABLE["tmp"]},
        *_socket_mount(front),
    ]
    return {
        "name": "gateway",
        "image": image,
        "args": ["run", "-c", "/etc/gateway/gateway.yaml"],
        "envFrom": [{"secretRef": {"name": "gateway"}}],
        "env": [{"name": "GATEWAY_STATE", "value": "/var/lib/gateway"}],
        "volumeMounts": mounts,
        # The internal listener is on the loopback, which only the pod reaches.
        "readinessProbe": _asking("/readyz"),
        "livenessProbe": _asking("/livez"),
        "securityContext": dict(_LOCKED),
    }


def _asking(path: str) -> dict[str, Any]:
    return {
        "exec": {"command": ["python", "/app/healthcheck.py", "9090", path]},
        "periodSeconds": 10,
        "timeoutSeconds": 3,
    }


def _nginx(front: Front, port: int) -> dict[str, Any]:
    main = "daemon off; pid /tmp/nginx.pid; error_log stderr;"
    mounts = [{"name": "files", "mountPath": "/etc/gateway", "readOnly": True}]
    mounts += [{"name": name, "mountPath": path} for name, path in _WRITABLE.items()]
    return {
        "name": "nginx",
        "image": NGINX,
        "args": ["nginx", "-c", "/etc/gateway/nginx.conf", "-g", main],
        "ports": [{"name": "http", "containerPort": port}],
        "volumeMounts": [*mounts, *_socket_mount(front)],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 5},
        # What is under way ends before nginx does, and the gateway is still there for it.
        "lifecycle": {
            "preStop": {"exec": {"command": ["sh", "-c", "sleep 5; nginx -s quit -g 'pid /tmp/nginx.pid;'"]}}
        },
        "securityContext": dict(_LOCKED),
    }


def _volumes(front: Front) -> Iterator[dict[str, Any]]:
    yield {"name": "files", "configMap": {"name": "gateway"}}
    yield from ({"name": name, "emptyDir": {}} for name in _WRITABLE)
    yield from ({"name": mount["name"], "emptyDir": {}} for mount in _socket_mount(front))


def _socket_mount(front: Front) -> list[dict[str, Any]]:
    where = front.decisions.path
    return [] if where is None else [{"name": "sockets", "mountPath": where.rpartition("/")[0]}]


def _service() -> dict[str, Any]:
    spec = {"selector": _labels(), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    return {**_named("Service", "v1"), "spec": spec}


def _ingress() -> dict[str, Any]:
    backend = {"service": {"name": "gateway", "port": {"name": "http"}}}
    rule = {"host": "api.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {**_named("Ingress", "networking.k8s.io/v1"), "spec": {"rules": [rule]}}
