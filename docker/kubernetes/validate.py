#!/usr/bin/env python3
"""Checks the manifests without a cluster and without a network.

Three layers: the Kubernetes API's own schemas (where the package `kubernetes-validate` is installed), the rules that
every manifest here keeps (selectors, mounts, resources, security contexts), and the exact facts that the two
DaemonSets and the simulated chain must have. Where the programs are built, each flag is looked up in their --help;
with `--programs-are-built` it is a mistake if they are not.

Every mistake is printed; the exit code is 1 if there is one.
"""

import pathlib
import re
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
PROGRAMS = ("inclavared", "shelter", "enclave-tls-server")
# What kustomize does with these keys changes no checked fact; another key would need it to be run first.
KUSTOMIZATION_KEYS = {"apiVersion", "kind", "resources", "images"}

errors = []
notes = []


def main():
    kinds = {}
    for name in ("base", "sidecar", "simulated"):
        kinds[name] = load(HERE / name)
        for doc in kinds[name]:
            check_object(doc)
    check_schemas([doc for docs in kinds.values() for doc in docs])
    check_base(kinds["base"])
    check_simulated(kinds["simulated"])
    check_compose(TREE / "docker" / "compose.yaml")
    for note in notes:
        print(f"note: {note}")
    for error in errors:
        print(f"error: {error}")
    count = sum(len(docs) for docs in kinds.values())
    if errors:
        sys.exit(f"{len(errors)} mistakes in {count} objects")
    print(f"{count} objects are as they must be")


def expect(condition, what):
    if not condition:
        errors.append(what)


def load(folder):
    """The objects of one kustomization, each with the image tag that the kustomization gives it."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    extra = set(kustomization) - KUSTOMIZATION_KEYS
    expect(not extra, f"{folder.name}/kustomization.yaml: {sorted(extra)} would change what is checked here")
    listed = set(kustomization["resources"])
    there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    expect(listed == there, f"{folder.name}: resources {sorted(listed)}, but files {sorted(there)}")
    images = {image["name"]: image for image in kustomization["images"]}
    docs = []
    for name in sorted(listed & there):
        for doc in yaml.safe_load_all((folder / name).read_text()):
            for container in containers(pod_spec(doc)):
                image = images.get(container["image"])
                expect(image is not None, f"{folder.name}/{name}: the kustomization has no image `{container['image']}`")
                tag = (image or {}).get("newTag", "latest")
                expect(tag != "latest", f"{folder.name}/{name}: image `{container['image']}` has no fixed tag")
                expect(container.get("imagePullPolicy") == "IfNotPresent", f"{folder.name}/{name}: imagePullPolicy")
            docs.append(doc)
    used = {container["image"] for doc in docs for container in containers(pod_spec(doc))}
    expect(used == set(images), f"{folder.name}: images {sorted(images)}, but used {sorted(used)}")
    return docs


def pod_spec(doc):
    if doc["kind"] == "Pod":
        return doc["spec"]
    return doc["spec"].get("template", {}).get("spec", {})


def containers(spec):
    return spec.get("initContainers", []) + spec.get("containers", [])


def check_schemas(docs):
    try:
        import kubernetes_validate
    except ImportError:
        notes.append("SKIPPED the Kubernetes schemas: the Python package kubernetes-validate is not installed")
        return
    for doc in docs:
        try:
            kubernetes_validate.validate(doc, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(map(str, error.path))
            errors.append(f"{doc['kind']}/{doc['metadata']['name']}: schema: {path}: {error.message}")


def check_object(doc):
    where = f"{doc['kind']}/{doc['metadata']['name']}"
    if doc["kind"] in ("DaemonSet", "Deployment"):
        selector = doc["spec"]["selector"]["matchLabels"]
        labels = doc["spec"]["template"]["metadata"]["labels"]
        expect(selector.items() <= labels.items(), f"{where}: selector {selector} does not select labels {labels}")
    spec = pod_spec(doc)
    if not spec:
        return

    expect(spec.get("automountServiceAccountToken") is False, f"{where}: mounts a token of the Kubernetes API")
    context = spec.get("securityContext", {})
    expect(context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0, f"{where}: may run as root")
    expect(context.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{where}: seccompProfile")

    declared = {volume["name"] for volume in spec.get("volumes", [])}
    mounted = set()
    names = [container["name"] for container in containers(spec)]
    expect(len(names) == len(set(names)), f"{where}: two containers of one name: {names}")
    listening = []
    for container in containers(spec):
        check_container(f"{where}, container {container['name']}", container, spec)
        mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
        listening += [port["containerPort"] for port in container.get("ports", [])]
    expect(mounted == declared, f"{where}: volumes declared {sorted(declared)}, mounted {sorted(mounted)}")
    expect(len(listening) == len(set(listening)), f"{where}: two containers on one port: {listening}")


def check_container(where, container, spec):
    for kind in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            expect(resource in container.get("resources", {}).get(kind, {}), f"{where}: no {kind}.{resource}")

    context = container.get("securityContext", {})
    expect(context.get("readOnlyRootFilesystem") is True, f"{where}: writable root file system")
    devices = {
        volume["name"]
        for volume in spec.get("volumes", [])
        if volume.get("hostPath", {}).get("type") == "CharDevice"
    }
    if devices & {mount["name"] for mount in container.get("volumeMounts", [])}:
        # The one reason for it: base/inclavared.yaml says why.
        expect(context.get("privileged") is True, f"{where}: the device cgroup will refuse {sorted(devices)}")
    else:
        expect("privileged" not in context, f"{where}: privileged without a device")
        expect(context.get("allowPrivilegeEscalation") is False, f"{where}: allowPrivilegeEscalation")
        expect(context.get("capabilities") == {"drop": ["ALL"]}, f"{where}: keeps capabilities")

    ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
    for probe in ("readinessProbe", "startupProbe", "livenessProbe"):
        port = container.get(probe, {}).get("tcpSocket", {}).get("port")
        expect(port is None or port in ports or port in ports.values(), f"{where}: {probe} asks port {port}")
    listen = flag(container, "--listen") or f"{flag(container, '--ip')}:{flag(container, '--port')}"
    for port in ports.values():
        expect(listen.endswith(f":{port}"), f"{where}: declares port {port} and listens on {listen}")

    check_command(where, container.get("command", []) + container.get("args", []))


def check_command(where, words):
    words = [str(word) for word in words]
    if words[:2] == ["sh", "-c"]:
        inner = re.search(r"exec (.*)$", words[2])
        expect(inner is not None, f"{where}: a shell that does not exec its program")
        words = inner.group(1).split() if inner else []
    program = pathlib.PurePosixPath(words[0]).name if words else ""
    expect(program in PROGRAMS, f"{where}: `{program}` is none of {PROGRAMS}")
    subcommand = [word for word in words[1:2] if not word.startswith("-")]
    known = flags_of(program, subcommand)
    for word in words[1:]:
        if known is not None and word.startswith("--"):
            expect(word.split("=")[0] in known, f"{where}: `{program} {' '.join(subcommand)}` has no {word}")


def flags_of(program, subcommand, cache={}):
    """The long flags that the built program knows, or None where it is not built."""
    key = (program, *subcommand)
    if key not in cache:
        built = [TREE / "target" / profile / program for profile in ("debug", "release")]
        built = [path for path in built if path.is_file()]
        cache[key] = None
        if built:
            newest = max(built, key=lambda path: path.stat().st_mtime)
            answer = subprocess.run(
                [newest, *subcommand, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
            )
            expect(answer.returncode == 0, f"`{' '.join(key)} --help` fails: {answer.stderr.strip()}")
            cache[key] = set(re.findall(r"--[a-z][a-z0-9-]*", answer.stdout)) if answer.returncode == 0 else None
        else:
            missing = errors if "--programs-are-built" in sys.argv[1:] else notes
            missing.append(f"SKIPPED the flags of {' '.join(key)}: {program} is not built")
    return cache[key]


def flag(container, name):
    args = [str(arg) for arg in container.get("args", [])]
    return args[args.index(name) + 1] if name in args else None


def find(docs, kind, name):
    found = [doc for doc in docs if doc["kind"] == kind and doc["metadata"]["name"] == name]
    if len(found) != 1:
        sys.exit(f"error: {len(found)} objects {kind}/{name}, expected 1")
    return found[0]


def check_base(docs):
    """The cluster guide of Inclavare Containers, fact by fact."""
    args = {
        "inclavared": ["--listen", "0.0.0.0:1236", "--xfer", "127.0.0.1:1234"]
        + ["--attester", "sgx_ecdsa", "--verifier", "sgx_ecdsa_qve", "--mutual"],
        "enclave-tls-server": ["--ip", "127.0.0.1", "--port", "1234", "--mutual"]
        + ["--attester", "sgx_ecdsa", "--verifier", "sgx_ecdsa_qve"],
    }
    affinity = {
        "key": "alibabacloud.com/tee-hardware-category",
        "operator": "In",
        "values": ["intel-sgx1", "intel-sgx2"],
    }
    toleration = {"key": "alibabacloud.com/sgx_epc_MiB", "operator": "Exists", "effect": "NoSchedule"}
    host_paths = ["/dev/sgx_enclave", "/dev/sgx_provision", "/var/run/aesmd"]
    expect(len(docs) == 2, f"base: {len(docs)} objects, expected the two DaemonSets")
    for name in args:
        spec = pod_spec(find(docs, "DaemonSet", name))
        where = f"DaemonSet/{name}"
        expect(spec.get("hostNetwork") is True, f"{where}: hostNetwork")
        required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        expect(required == {"nodeSelectorTerms": [{"matchExpressions": [affinity]}]}, f"{where}: affinity {required}")
        expect(spec.get("tolerations") == [toleration], f"{where}: tolerations {spec.get('tolerations')}")
        expect(len(spec["containers"]) == 1, f"{where}: containers")
        container = spec["containers"][0]
        expect(container["command"] == [f"/usr/local/bin/{name}"], f"{where}: command {container['command']}")
        expect(container["args"] == args[name], f"{where}: args {container['args']}")
        expect(
            container["resources"]
            == {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "1000Mi"}},
            f"{where}: resources {container['resources']}",
        )
        volumes = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in spec["volumes"]}
        expect(sorted(volumes.values()) == host_paths, f"{where}: volumes {volumes}")
        mounts = {mount["mountPath"]: volumes.get(mount["name"]) for mount in container["volumeMounts"]}
        expect(mounts == {path: path for path in host_paths}, f"{where}: mounts {mounts}")


def check_simulated(docs):
    """edge -> relay -> workload, joined port by port, all on the one simulated platform."""
    deployment = find(docs, "Deployment", "inclavared-simulated")
    service = find(docs, "Service", "inclavared-simulated")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selector = service["spec"]["selector"]
    expect(selector.items() <= labels.items(), f"simulated: the service selects {selector}, the pod is {labels}")
    spec = pod_spec(deployment)
    hops = {container["name"]: container for container in spec["containers"]}
    expect(set(hops) == {"edge", "relay", "workload"}, f"simulated: containers {sorted(hops)}")
    for upstream, downstream in (("edge", "relay"), ("relay", "workload")):
        below = hops[downstream]
        listen = flag(below, "--listen") or f"{flag(below, '--ip')}:{flag(below, '--port')}"
        xfer = flag(hops[upstream], "--xfer")
        expect(xfer == listen, f"simulated: {upstream} goes to {xfer}, {downstream} listens on {listen}")
    ports = {port["name"] for container in hops.values() for port in container.get("ports", [])}
    for port in service["spec"]["ports"]:
        expect(port["targetPort"] in ports, f"simulated: the service's port {port['targetPort']} is nobody's")
    for name, container in hops.items():
        expect(flag(container, "--attester") == "sim" == flag(container, "--verifier"), f"simulated: {name} is not sim")
        expect(flag(container, "--platform") == "/platform/sim", f"simulated: {name} has another platform")
        expect("--mutual" in container["args"], f"simulated: {name} is not mutual")
        readable = [mount.get("readOnly") for mount in container["volumeMounts"] if mount["name"] == "platform"]
        expect(readable == [True], f"simulated: {name} can write the platform")
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    expect("emptyDir" in volumes.get("platform", {}), "simulated: the platform is no emptyDir")


def check_compose(path):
    compose = yaml.safe_load(path.read_text())
    services = compose["services"]
    for name, service in services.items():
        where = f"{path.name}, service {name}"
        check_command(where, service["command"])
        expect(service.get("read_only") is True and service.get("cap_drop") == ["ALL"], f"{where}: not confined")
        for other in service.get("depends_on", {}):
            expect(other in services, f"{where}: depends on `{other}`, which is not there")
        for volume in service["volumes"]:
            expect(volume.split(":")[0] in compose["volumes"], f"{where}: volume {volume} is not declared")
    for name, service in services.items():
        for word in service["command"]:
            if word.startswith(("--xfer=", "--addr=")):
                host, port = re.sub(r"^tcp://", "", word.split("=", 1)[1]).rsplit(":", 1)
                target = [str(part) for part in services.get(host, {}).get("command", [])]
                listens = f"--listen=0.0.0.0:{port}" in target or f"--port={port}" in target
                expect(listens, f"{path.name}, service {name}: nothing listens at {host}:{port}")


if __name__ == "__main__":
    main()
