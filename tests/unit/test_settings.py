"""Settings come from the environment, typed, and what is wrong is said in a sentence."""

import pytest

from lora.errors import InvalidSettings
from serving.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_defaults_listen_to_this_machine_only():
    settings = read_settings()
    assert settings.address == "127.0.0.1" and settings.port == 7860 and settings.profile == ""


def test_on_a_space_everybody_may_come(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/atelier")
    assert read_settings().address == "0.0.0.0"
    monkeypatch.setenv("HOST", "10.0.0.1")
    assert read_settings().address == "10.0.0.1"


def test_values_are_typed_and_empty_ones_count_as_unset(monkeypatch, tmp_path):
    values = {"PORT": "8000", "ADAPTERS_DIR": str(tmp_path), "LOG_LEVEL": "debug", "PROFILE": "Embedded", "THREADS": ""}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert (settings.port, settings.adapters_dir, settings.log_level) == (8000, tmp_path, "DEBUG")
    assert (settings.profile, settings.threads) == ("embedded", 0)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "99999", "less than or equal to 65535"),
        ("PORT", "http", "valid integer"),
        ("QUEUE_SIZE", "0", "greater than or equal to 1"),
        ("UPLOAD_MB", "4096", "less than or equal to 2048"),
        ("HUB_TIMEOUT", "0", "greater than 0"),
        ("STYLES_MB", "0", "greater than or equal to 1"),
        ("STYLES_PER_OWNER", "0", "greater than or equal to 1"),
        ("PROFILE", "sd3", "'embedded', 'laptop', 'sdxl' or 'custom'"),
        ("LOG_LEVEL", "LOUD", "'DEBUG'"),
        ("ADAPTERS_DIR", "/no/such/folder", "not a folder"),
        ("WILDCARDS_DIR", "/no/such/folder", "not a folder"),
    ],
)
def test_a_bad_value_is_one_sentence_naming_it(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as error:
        read_settings()
    message = str(error.value)
    assert message.startswith(f"{name} is '{value}', but ") and says in message
    assert message.count("\n") == 0 and "pydantic" not in message
