"""Where data and store live, and that credentials are shown nowhere."""

from pathlib import Path

import pytest

from helmframe import config
from helmframe.errors import ArgumentError


def test_the_data_root_of_configure_overrides_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", "/from/variable")
    assert config.data_root() == "/from/variable"
    config.configure(data="s3://bucket/evals")
    assert config.data_root() == "s3://bucket/evals"


def test_there_is_no_default_data_root() -> None:
    assert config.data_root() is None


def test_configure_keeps_values_that_are_not_passed() -> None:
    config.configure(data="/a")
    config.configure(s3_region="eu-central-1")
    assert config.data_root() == "/a"
    assert config.s3_options().region == "eu-central-1"


def test_the_store_is_a_path_or_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_STORE", "/var/store")
    assert config.store_root() == Path("/var/store")
    config.configure(store="s3://bucket/store")
    assert config.store_root() == "s3://bucket/store"


def test_the_store_is_in_the_users_data_directory_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELMFRAME_STORE")
    assert Path(config.store_root()).parts[-2:] == ("helmframe", "store")


def test_credentials_come_from_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000")
    options = config.s3_options()
    assert options.secrets == ("k", "s", "t")
    assert options.endpoint == "http://localhost:9000"


def test_credentials_come_from_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[mine]\naws_access_key_id = k\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert config.s3_options().secrets == ("k", "s")


def test_a_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ArgumentError, match="nobody"):
        config.s3_options()


def test_configure_overrides_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    config.configure(s3_key="mine", s3_secret="hidden")
    assert config.s3_options().secrets == ("mine", "hidden")


def test_anonymous_access_sends_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    config.configure(s3_anonymous=True)
    assert config.s3_options().secrets == ()


def test_no_repr_shows_a_credential() -> None:
    config.configure(s3_key="mine", s3_secret="hidden")
    shown = f"{config._settings!r} {config._settings} {config.s3_options()!r} {config.s3_options().secret}"
    assert "mine" not in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("localhost:9000", "http://localhost:9000"),
        ("//127.0.0.1:9000/", "http://127.0.0.1:9000/"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("minio:9000", "http://minio:9000"),
        ("10.1.2.3", "http://10.1.2.3"),
        ("storage.example.com:9000", "https://storage.example.com:9000"),
        ("8.8.8.8", "https://8.8.8.8"),
        ("https://localhost:9000", "https://localhost:9000"),
    ],
)
def test_an_endpoint_without_a_scheme_gets_one(endpoint: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(variable, endpoint)
        assert config.s3_options().endpoint == address
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://other")
    config.configure(s3_endpoint=endpoint)
    assert config.s3_options().endpoint == address


@pytest.mark.parametrize("endpoint", ["ftp://localhost:9000", "http://", ":9000", "http://host:port"])
def test_an_endpoint_that_is_no_http_address_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="must be like http://localhost:9000"):
        config.configure(s3_endpoint=endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ArgumentError, match=f"AWS_ENDPOINT_URL='{endpoint}': the address of the S3 server"):
        config.s3_options()


def test_an_endpoint_in_an_error_has_no_password() -> None:
    with pytest.raises(ArgumentError) as caught:
        config.configure(s3_endpoint="s3://me:hidden@localhost:9000")
    assert "hidden" not in str(caught.value)


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the AWS configuration with the profile `mine`."""
    file = tmp_path / "aws-config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    file.write_text("[profile mine]\nendpoint_url = localhost:9000\nregion = eu-west-1\n")
    return file


@pytest.mark.usefixtures("profile")
def test_the_endpoint_of_a_profile_goes_with_keys_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    options = config.s3_options()
    assert (options.endpoint, options.region, options.secrets) == ("http://localhost:9000", "eu-west-1", ("k", "s"))
    config.configure(s3_key="mine", s3_secret="hidden")
    assert (config.s3_options().endpoint, config.s3_options().secrets) == ("http://localhost:9000", ("mine", "hidden"))
    config.configure(s3_anonymous=True)
    assert (config.s3_options().endpoint, config.s3_options().secrets) == ("http://localhost:9000", ())


def test_the_services_section_of_a_profile_has_the_endpoint(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.s3_options().endpoint == "http://localhost:9000"
    services = "\n[services near]\ns3 =\n  endpoint_url = http://minio:9000\n"
    profile.write_text(f"[profile mine]\nendpoint_url = http://other:9000\nservices = near\n{services}")
    assert config.s3_options().endpoint == "http://minio:9000"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://first:9000")
    assert config.s3_options().endpoint == "http://first:9000"


def test_a_services_section_without_s3_leaves_the_endpoint_of_the_profile(profile: Path) -> None:
    services = "\n[services near]\ndynamodb =\n  endpoint_url = http://minio:9000\n"
    profile.write_text(f"[profile mine]\nendpoint_url = http://other:9000\nservices = near\n{services}")
    assert config.s3_options().endpoint == "http://other:9000"


def test_a_services_section_that_the_file_lacks_is_named(profile: Path) -> None:
    profile.write_text("[profile mine]\nservices = near\n")
    with pytest.raises(ArgumentError, match="services section 'near'"):
        config.s3_options()


def test_an_unknown_reader_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_S3_READER", "s3f")
    with pytest.raises(ArgumentError, match="Did you mean 's3fs'"):
        config.s3_reader()


def test_known_secrets_are_blotted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary_1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws/canary+2")
    config.configure(s3_key="said-canary-3", s3_secret="said-canary-3-longer")
    text = "a hf_canary_1, b aws/canary+2, c said-canary-3, d said-canary-3-longer"
    assert config.redacted(text) == "a ***, b ***, c ***, d ***"


def test_short_values_and_other_variables_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "short")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-or-true")
    assert config.redacted("short, false-or-true") == "short, false-or-true"


def test_a_root_is_a_folder_or_an_address() -> None:
    with pytest.raises(ArgumentError, match=r"configure\(store=5\): store must be a folder or an address"):
        config.configure(store=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("root", ["s3://key:hidden@bucket/data", "S3://hidden@bucket", "HTTP://me:hidden@host/x"])
@pytest.mark.parametrize("name", ["data", "store"])
def test_an_address_with_a_password_is_refused_unshown(name: str, root: str) -> None:
    with pytest.raises(
        ArgumentError, match=rf"configure\({name}=…\): .* must not contain a user or a password"
    ) as caught:
        config.configure(**{name: root})  # type: ignore[arg-type]
    assert "hidden" not in str(caught.value)


NAMES = [
    *("OPENAI_API_KEY", "MY_SERVER_KEY", "SIGNING_KEYS", "GITLAB_PAT", "SMTP_PASS", "HF_TOKEN", "CLIENT_SECRET"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "DATABASE_URL", "REDIS_URL"),
    *("MLFLOW_TRACKING_PASSWORD", "WANDB_API_KEY", "apiKey", "x-api-key", "accessToken", "Authorization", "password"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_credentials_are_recognised(name: str) -> None:
    assert config.is_credential_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("max_tokens", "stop_token_ids", "key_env", "eos_token", "top_k", "PATH", "PWD", "MONKEY", "COMPASS", "HOME"),
        *("TOKENIZERS_PARALLELISM", "prompt_cache_key", "KEYBOARD", "HELMFRAME_STORE", "HOMEPAGE_URL"),
    ],
)
def test_other_names_are_no_credentials(name: str) -> None:
    assert not config.is_credential_name(name)


VALUES = [
    *(
        "sk-proj-0123456789abcdefghij",
        "sk-canary-0123456789abcdef",
        "hf_0123456789abcdefghij",
        "ghp_0123456789abcdefghij",
    ),
    *("github_pat_0123456789abcdefghij", "glpat-0123456789abcdefghij", "xoxb-0123456789-abc", "AKIA0123456789ABCDEF"),
    *("AIza0123456789abcdefghijklmnopqrstuvwxy", "gsk_0123456789abcdefghijklmn", "Bearer 0123456789abcdef"),
    *("Basic dXNlcjpwYXNzd29yZA==", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def_123", "s3://me:canary@bucket/x"),
    *("-----BEGIN RSA PRIVATE KEY-----\nMIIcanary", "http://host/x?api_key=canary-0123", "HTTPS://canary@host/"),
]


@pytest.mark.parametrize("value", VALUES)
def test_values_in_the_form_of_a_credential_are_redacted_everywhere(value: str) -> None:
    shown = config.redacted(f"before ({value}) after")
    assert shown.startswith("before (")
    assert shown.endswith(") after")
    assert "***" in shown
    assert not any(part in shown for part in ("canary", "0123456789", "dXNlcjpw", "eyJhbGci", "MIIcanary"))
    # the prefilter of the log
    assert any(hint.lower() in value.lower() for hint in config.CREDENTIAL_HINTS)


@pytest.mark.parametrize(
    "text",
    [
        *("a task-oriented risk-averse model", "hf_model_name", "Bearer of bad news", "Basic arithmetic", "sk-learn"),
        *("see https://host/@user/page?n=3", "s3://bucket/key@v1", "mail me@host.org", "scikit-learn-contrib-1"),
    ],
)
def test_usual_texts_are_unchanged(text: str) -> None:
    assert config.redacted(text) == text
    assert config.find_credential("text", text) is None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"headers": {"Authorization": "Bearer 0123456789"}}, "extra.headers.Authorization"),
        ({"nested": [{"api_key": "x"}]}, "extra.nested.api_key"),
        ({"keys": {"api_keys": ["a", "b"]}}, "extra.keys.api_keys"),
        ({"note": "ghp_0123456789abcdefghij"}, "extra.note"),
        ({"sk-proj-0123456789abcdefghij": 1}, "extra"),
        ({"url": "PostgreSQL://me:pw@host/db"}, "extra.url"),
        ((("headers", (("x-api-key", "x"),)),), "extra.headers.x-api-key"),
        ({"token": b"bytes"}, "extra.token"),
        ({"model": "http(url='http://host', api_key='x')"}, "extra.model"),
        ({"model": 'judge(model="http(url=\\"http://host\\", api_key=\\"x\\")")'}, "extra.model"),
    ],
)
def test_a_credential_is_found_at_any_depth(value: object, path: str) -> None:
    assert config.find_credential("extra", value) == path


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 5, "stop_token_ids": [1, 2], "logit_bias": {"50256": -100}},
        {"chat_template_kwargs": {"enable_thinking": False}, "prompt_cache_key": "evals"},
        {"guided_json": {"properties": {"api_key": {"type": "string"}, "token": {"type": "string"}}}},
        {"tokens": ["a", "b"], "stop": ["\n"], "seed": 1, "key": None},
    ],
)
def test_parameters_of_models_are_no_credentials(value: object) -> None:
    assert config.find_credential("extra", value) is None


def test_the_variable_of_a_key_is_a_secret_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_key_variables", set())
    monkeypatch.setenv("MY_SERVER", "canary-0123456789")
    assert config.redacted("canary-0123456789") == "canary-0123456789"
    assert config.read_key("MY_SERVER") == "canary-0123456789"
    assert config.redacted("canary-0123456789") == "***"


def test_an_echo_is_replaced_if_the_key_has_16_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "canary-012345678")
    monkeypatch.setenv("B_TOKEN", "canary-01234567")
    assert config.without_echo("a canary-012345678, b canary-01234567") == "a ***, b canary-01234567"
    # a model may have generated this
    assert config.without_echo("ghp_0123456789abcdefghij") == "ghp_0123456789abcdefghij"


def test_the_flush_interval_is_2_seconds_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.flush_seconds() == 2.0
    monkeypatch.setenv("HELMFRAME_FLUSH_SECONDS", "0.5")
    assert config.flush_seconds() == 0.5
    config.configure(flush_seconds=10)
    assert config.flush_seconds() == 10.0


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "soon"])
def test_a_flush_interval_is_a_number_of_seconds(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"configure\(flush_seconds=…\): .* isn't a number of seconds > 0"):
        config.configure(flush_seconds=value)
    monkeypatch.setenv("HELMFRAME_FLUSH_SECONDS", "never")
    with pytest.raises(ArgumentError, match="HELMFRAME_FLUSH_SECONDS: 'never'"):
        config.flush_seconds()
