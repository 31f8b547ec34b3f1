"""Settings: what an operator may set, what is refused, and that a refusal names the variable."""

from typing import Any

import msgspec
import pytest

from service.settings import Settings, read, variable
from tenancy.errors import SetupRefused


def test_read_of_nothing_gives_the_defaults() -> None:
    assert read({}) == Settings()
    assert read({"PATH": "/bin", "TUTTIX": "1", "tutti_pool_size": "1"}) == Settings()


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_an_empty_variable_is_as_good_as_none(field: str) -> None:
    assert read({variable(field): ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DATABASE_URL", "postgresql://db/tutti", "database_url", "postgresql://db/tutti"),
        ("TUTTI_OWNER_DATABASE_URL", "postgresql://o@db/t", "owner_database_url", "postgresql://o@db/t"),
        ("TUTTI_DATA_DIR", "/srv/tutti", "data_dir", "/srv/tutti"),
        ("TUTTI_PUBLIC_URL", "https://tutti.example", "public_url", "https://tutti.example"),
        ("TUTTI_MAESTRO_DIALECT", "legacy", "maestro_dialect", "legacy"),
        ("TUTTI_PAUSED_TRIGGER_STATUS", "409", "paused_trigger_status", 409),
        ("TUTTI_POOL_SIZE", "2", "pool_size", 2),
        ("TUTTI_SANDBOX_PROCESSES", "64", "sandbox_processes", 64),
        ("TUTTI_INSTANCE_LIFETIME_HOURS", "24", "instance_lifetime_hours", 24),
        ("TUTTI_LOG_LEVEL", "debug", "log_level", "debug"),
    ],
)
def test_read_takes_the_value_of_the_variable(name: str, text: str, field: str, value: Any) -> None:
    assert read({name: text}) == msgspec.structs.replace(Settings(), **{field: value})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("TUTTI_POOL_SIZE", text) for text in ("1", "501", "-1", "many", "1.5", "²", "16x", "9" * 5000)],
        *[("TUTTI_SANDBOX_PROCESSES", text) for text in ("0", "65", "two")],
        *[("TUTTI_INSTANCE_LIFETIME_HOURS", text) for text in ("-1", "43801", "P1D")],
        *[("TUTTI_PAUSED_TRIGGER_STATUS", text) for text in ("500", "²", "x", "4e2", "-400", "9" * 5000)],
        *[("TUTTI_MAESTRO_DIALECT", text) for text in ("Auto", "older", "[bold]")],
        *[("TUTTI_LOG_LEVEL", text) for text in ("INFO", "trace")],
    ],
)
def test_read_refuses_a_wrong_value_and_names_its_variable(name: str, text: str) -> None:
    with pytest.raises(SetupRefused, match=f"^{name}: [^`$]*(`[^`]*`[^`$]*)*\\.$"):
        read({name: text})


@pytest.mark.parametrize("name", ["TUTTI_POOLSIZE", "TUTTI_", "TUTTI_DATABASE_URL", "TUTTI_pool_size"])
def test_read_refuses_a_variable_that_nobody_reads_and_names_those_it_knows(name: str) -> None:
    with pytest.raises(SetupRefused) as refused:
        read({name: "1", "TUTTI_POOL_SIZE": "4"})
    assert name in str(refused.value)
    assert "TUTTI_POOL_SIZE" in str(refused.value).partition("Known: ")[2]


def test_every_setting_is_reached_by_its_own_variable() -> None:
    names = {variable(field) for field in Settings.__struct_fields__}
    assert len(names) == len(Settings.__struct_fields__)
    assert all(name == "DATABASE_URL" or name.startswith("TUTTI_") for name in names)


@pytest.mark.parametrize("listed", ["foo", "10.0.0.0/33", "*", "10.0.0.1, localhost"])
def test_proxies_are_addresses_or_networks(listed: str) -> None:
    with pytest.raises(SetupRefused, match="TUTTI_TRUSTED_PROXIES"):
        read({"TUTTI_TRUSTED_PROXIES": listed})


@pytest.mark.parametrize("listed", ["10.0.0.1", "10.0.0.0/8,192.0.2.1", "::1, fd00::/8"])
def test_proxies_may_be_several(listed: str) -> None:
    assert read({"TUTTI_TRUSTED_PROXIES": listed}).trusted_proxies == listed


@pytest.mark.parametrize("url", ["127.0.0.1:8310", "ftp://a", "https://a?b", "https://u@a", "http://"])
def test_a_public_url_is_one_of_the_web(url: str) -> None:
    with pytest.raises(SetupRefused, match=r"TUTTI_PUBLIC_URL is a URL that begins with http:// or https://"):
        read({"TUTTI_PUBLIC_URL": url})
