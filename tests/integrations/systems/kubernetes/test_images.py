"""What a policy takes for an image, by its own pattern; that a real API server reads it so is in `test_admission`."""

import re

import pytest

from integrations.systems.kubernetes import images
from playbooks.errors import Refused
from playbooks.estate.image import reference

DIGEST = f"sha256:{'ab' * 32}"
IMAGES = (
    "nginx:1.25",
    "nginx",
    "docker.io/acme/weather:1",
    "localhost:5000/weather:1",
    "ghcr.io/acme/weather:latest",
    "[::1]:5000/weather:1",
    f"ghcr.io/acme/weather@{DIGEST}",
)


@pytest.mark.parametrize("image", IMAGES)
def test_every_way_in_which_it_is_asked_about_is_one_that_the_policy_means(image: str) -> None:
    ours = images.known_as(image)
    ways = images.spellings(ours)
    assert [way for way in ways if not re.fullmatch(images.spelled(ours), way)] == []
    assert [way for way in ways if reference(way) is None] == [], "a kubelet starts nothing of such a name"
    assert len(ways) >= 3


@pytest.mark.parametrize(
    "written",
    [
        "nginx:1.25",
        "library/nginx:1.25",
        "docker.io/nginx:1.25",
        "docker.io/library/nginx:1.25",
        "index.docker.io/nginx:1.25",
        "index.docker.io/library/nginx:1.25",
        "registry-1.docker.io/library/nginx:1.25",
        "REGISTRY-1.Docker.IO:443/library/nginx:1.25",
        "registry.hub.docker.com:0443/library/nginx:1.25",
        f"nginx:1.25@{DIGEST}",
        f"index.docker.io/library/nginx:1.25@sha256:{'0' * 64}",
        "sha256:0123456789ab",
    ],
)
def test_an_image_of_docker_hub_is_meant_however_it_is_written(written: str) -> None:
    assert re.fullmatch(images.spelled("nginx:1.25"), written)


@pytest.mark.parametrize(
    "written",
    [
        "nginx:1.250",
        "nginx:1x25",
        "nginx",
        "nginx:latest",
        f"nginx@{DIGEST}",
        "ghcr.io/library/nginx:1.25",
        "acme/nginx:1.25",
        "library/x/nginx:1.25",
        "evil.example/docker.io/library/nginx:1.25",
        "docker.io.evil.example/library/nginx:1.25",
        "docker.io:5000/library/nginx:1.25",
        "Nginx/nginx:1.25",
        "x/sha256:0123",
    ],
)
def test_another_image_is_not_meant(written: str) -> None:
    assert not re.fullmatch(images.spelled("nginx:1.25"), written)


def test_a_tag_that_is_not_written_is_the_latest_and_no_digest() -> None:
    for written in ("nginx", "docker.io/nginx", "nginx:latest", f"nginx:latest@{DIGEST}"):
        assert re.fullmatch(images.spelled("nginx:latest"), written), written
    assert not re.fullmatch(images.spelled("nginx:latest"), f"nginx@{DIGEST}")


@pytest.mark.parametrize("written", [f"nginx@{DIGEST}", f"evil.example/x:9@{DIGEST}", "sha256:0123"])
def test_a_digest_is_meant_at_any_registry(written: str) -> None:
    ours = images.known_as(f"nginx:1@{DIGEST}")
    assert re.fullmatch(images.spelled(ours), written)
    assert not re.fullmatch(images.spelled(ours), f"nginx@sha256:{'0' * 64}")


@pytest.mark.parametrize("image", ['x:1"] || true || i in ["', "x:1\n", "x 1", "", "x" * 500, "x@sha256:ab", "(?i)x"])
def test_what_is_no_name_of_an_image_never_comes_into_an_expression(image: str) -> None:
    with pytest.raises(Refused, match="no image is called"):
        images.known_as(image)


def test_a_long_name_is_a_name() -> None:
    image = f"registry.example/{'a/' * 100}weather:1"
    assert images.known_as(image) == image
