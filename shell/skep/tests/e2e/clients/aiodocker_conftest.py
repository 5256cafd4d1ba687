# What aiodocker's tests ask for, from a daemon that runs already: no containers of their own, no pulls.

import os
import secrets

import pytest

from aiodocker.docker import Docker


@pytest.fixture(scope="session")
def random_name():
    return "aiodocker-" + secrets.token_hex(4)


@pytest.fixture(scope="session")
def image_name():
    return "python:3.13-alpine"


@pytest.fixture(scope="session")
def image_name_updated():
    return "python:3.14-alpine"


@pytest.fixture(scope="session")
def testing_images(image_name, image_name_updated):
    return [image_name, image_name_updated]


@pytest.fixture(scope="session")
def dind_docker_host():
    return os.environ["DOCKER_HOST"]


@pytest.fixture
async def docker():
    client = Docker()
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def swarm(dind_docker_host):
    client = Docker(url=dind_docker_host)
    try:
        assert await client.swarm.init()
        yield client
    finally:
        await client.swarm.leave(force=True)
        await client.close()
