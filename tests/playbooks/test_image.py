"""One image has one name, however it is written; what no kubelet reads is none."""

import pytest

from playbooks.estate.image import reference

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("written", "name", "tag", "digest"),
    [
        ("nginx", "nginx", "", ""),
        ("library/nginx:1", "nginx", "1", ""),
        ("docker.io/nginx:1", "nginx", "1", ""),
        ("index.docker.io/nginx:1", "nginx", "1", ""),
        ("registry-1.docker.io:443/library/nginx:1", "nginx", "1", ""),
        (f"Docker.IO/library/nginx:1@{DIGEST}", "nginx", "1", DIGEST),
        ("docker.io/acme/weather:1", "acme/weather", "1", ""),
        ("library/a/b", "library/a/b", "", ""),
        ("localhost/weather:1", "localhost/weather", "1", ""),
        ("localhost:05000/weather:1", "localhost:5000/weather", "1", ""),
        ("GHCR.io:0443/acme/weather", "ghcr.io/acme/weather", "", ""),
        ("ACME/weather", "acme/weather", "", ""),
        ("[::1]:5000/weather:1", "[::1]:5000/weather", "1", ""),
        ("registry.example/a__b-c.d/e--f:v_1", "registry.example/a__b-c.d/e--f", "v_1", ""),
    ],
)
def test_an_image_has_one_name(written: str, name: str, tag: str, digest: str) -> None:
    found = reference(written)
    assert found is not None
    assert (found.name, found.tag, found.digest) == (name, tag, digest)


def test_an_owner_that_is_written_large_is_a_registry_and_no_owner_at_docker_hub() -> None:
    assert reference("ACME/weather") != reference("acme/weather")


@pytest.mark.parametrize(
    "written",
    ["", "x:1\n", " x", "x y", "a//b", "ghcr.io./x", "../x", "x:", "x@", "\u0131x", "docker.io/Weather", "x:1:2"],
)
def test_what_no_kubelet_reads_is_no_image(written: str) -> None:
    assert reference(written) is None
