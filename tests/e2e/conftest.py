import pytest
from gradio_client import Client

from tests import serving


@pytest.fixture(scope="session")
def server():
    return serving.shared()


@pytest.fixture
def client(server):
    return Client(server.url, verbose=False)
