# The commands themselves stand in .ci/run, so that CI and this file cannot differ.

# Everything that CI checks, with the tools that are there.
check: fmt clippy features test guard doc deny kubernetes

# As CI does it: installs the tools first.
ci:
    .ci/run

fmt:
    .ci/run fmt

clippy:
    .ci/run clippy

# The verifier without its default features, with each cryptography.
features:
    .ci/run features

test:
    .ci/run test

# Counts instructions with valgrind; after a change that is meant: `cargo run -p inclavared-bench -- guard --update`.
guard:
    .ci/run guard

doc:
    .ci/run doc

# Licences, sources, and no second crypto or TLS stack.
deny:
    .ci/run deny

# The manifests in docker/kubernetes.
kubernetes:
    .ci/run kubernetes

# Known vulnerabilities of the dependencies; needs the network.
advisories:
    cargo deny check advisories

# A chain of two hops on a simulated platform, verified end to end.
demo:
    cargo run --release --bin inclavared -- demo

# The container image (docker/Dockerfile).
image tag="inclavared:0.1.0":
    docker build -f docker/Dockerfile -t {{tag}} .
