from pathlib import Path

import pytest

from enginecrate.errors import InputUnreadable, SettingInvalid
from enginecrate.settings import load_settings, unknown_variables


def test_each_layer_wins_over_the_one_before(tmp_path: Path):
    file = tmp_path / "settings.toml"
    file.write_text("http_port = 1001\nmax_pending = 7\nhost = '0.0.0.0'\n")
    settings = load_settings(
        file=file,
        environment={"ENGINECRATE_HTTP_PORT": "1002", "ENGINECRATE_MAX_PENDING": "8"},
        flags={"http_port": 1003, "max_pending": None},
    )
    assert (settings.http_port, settings.max_pending, settings.host) == (1003, 8, "0.0.0.0")
    assert settings.origin["http_port"] == "flag"
    assert settings.origin["max_pending"] == "environment"
    assert settings.origin["host"] == str(file)
    assert settings.origin["log_format"] == "default"


def test_the_defaults_of_an_image_are_weaker_than_the_users_file(tmp_path: Path):
    defaults, file = tmp_path / "defaults.toml", tmp_path / "settings.toml"
    defaults.write_text('host = "0.0.0.0"\nlog_format = "json"\nlog_stream = "stdout"\n')
    file.write_text('host = "127.0.0.2"\nlog_format = "text"\n')
    variables = {"ENGINECRATE_DEFAULTS": str(defaults), "ENGINECRATE_SETTINGS": str(file)}
    settings = load_settings(environment={**variables, "ENGINECRATE_LOG_FORMAT": "auto"})
    found = (settings.host, settings.log_format, settings.log_stream)
    assert found == ("127.0.0.2", "auto", "stdout")
    assert settings.origin["log_stream"] == str(defaults)
    del variables["ENGINECRATE_SETTINGS"]
    assert load_settings(file=file, environment=variables).host == "127.0.0.2"
    assert load_settings(environment=variables).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ENGINECRATE_HTTP_PORT": "eighty"}, "ENGINECRATE_HTTP_PORT must be a whole number"),
        ({"ENGINECRATE_HTTP_PORT": "70000"}, "at most 65535"),
        ({"ENGINECRATE_MAX_PENDING": "0"}, "at least 1"),
        ({"ENGINECRATE_REQUEST_TIMEOUT_SECONDS": "nan"}, "at least 0.1"),
        ({"ENGINECRATE_LOG_FORMAT": "jsn"}, "did you mean 'json'?"),
    ],
)
def test_bad_values_name_the_setting_and_the_bound(environment: dict[str, str], words: str):
    with pytest.raises(SettingInvalid, match=words):
        load_settings(environment=environment)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http_prt = 1", "did you mean 'http_port'"),
        ("http_port = true", "must be a whole number"),
        ("http_port = 1.5", "must be a whole number"),
        ("http_port = ", "not valid TOML"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, words: str):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(SettingInvalid, match=words):
        load_settings(file=file, environment={})


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputUnreadable, match="cannot read the settings file"):
        load_settings(file=tmp_path / "none.toml", environment={})


def test_default_cache_follows_the_desktop_standard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_settings(environment={}).cache_path == tmp_path / "enginecrate"


SERVICE = {
    "{}_SERVICE_HOST": "10.96.0.1",
    "{}_SERVICE_PORT": "8000",
    "{}_SERVICE_PORT_HTTP": "8000",
    "{}_PORT": "{scheme}://10.96.0.1:8000",
    "{}_PORT_8000_{protocol}": "{scheme}://10.96.0.1:8000",
    "{}_PORT_8000_{protocol}_PROTO": "{scheme}",
    "{}_PORT_8000_{protocol}_PORT": "8000",
    "{}_PORT_8000_{protocol}_ADDR": "10.96.0.1",
}


def variables_of_a_service(service: str, scheme: str = "tcp") -> dict[str, str]:
    """What Kubernetes puts into each container for a Service of the same namespace."""
    prefix, words = service.upper().replace("-", "_"), {"scheme": scheme}
    return {
        name.format(prefix, protocol=scheme.upper()): value.format(**words)
        for name, value in SERVICE.items()
    }


@pytest.mark.parametrize("scheme", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("service", ["enginecrate", "enginecrate-canary", "enginecrate-2"])
def test_the_variables_of_a_service_bring_no_warning(service: str, scheme: str):
    environment = variables_of_a_service(service, scheme)
    assert unknown_variables(environment) == []
    assert load_settings(environment=environment).http_port == 8000


def test_a_service_whose_port_looks_like_a_setting_is_ignored_with_one_line():
    environment = variables_of_a_service("enginecrate-http")
    assert load_settings(environment=environment).origin["http_port"] == "default"
    (line,) = unknown_variables(environment)
    assert "ENGINECRATE_HTTP_PORT is ignored" in line
    assert (
        "a Service called enginecrate-http; rename the Service, or set enableServiceLinks" in line
    )


def test_a_mistaken_name_is_still_named():
    (line,) = unknown_variables({"ENGINECRATE_HTP_PORT": "8000"})
    assert "did you mean 'ENGINECRATE_HTTP_PORT'?" in line


def test_a_file_with_a_byte_order_mark(tmp_path: Path):
    name = "settings.toml"
    (tmp_path / name).write_bytes(b"\xef\xbb\xbfhttp_port = 7\n")
    assert load_settings(file=tmp_path / name, environment={}).http_port == 7
    (tmp_path / name).write_text("http_port = 7\n", encoding="utf-16")
    with pytest.raises(SettingInvalid, match=r"UTF-16 or UTF-32 \(a byte order mark, ff fe\)"):
        load_settings(file=tmp_path / name, environment={})
