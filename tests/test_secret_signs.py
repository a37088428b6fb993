"""What looks like a secret: by a file's name and folder, by what a text holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shammah.secret_signs import secret_by_name, secret_in


@pytest.mark.parametrize(
    "name",
    [
        ".env", ".env.local", ".ENV", "prod.env", "id_rsa", "id_ed25519", "id_ecdsa_sk", "server.pem", "Server.KEY",
        "a.p12", "a.pfx", "credentials", "credentials.json", "credentials.toml", ".netrc", "_netrc", ".pgpass",
        ".npmrc", ".pypirc", ".git-credentials", "safe.kdbx", "secrets.yaml", "secret.txt", "login.ppk", "prod.tfvars",
        ".env~", ".env.", "server.key.bak", ".server.key.swp", "#id_rsa#",
        "~/.aws/credentials", ".ssh/config", "deep/.AWS/config", "/etc/ssl/private/site.key",
    ],
)  # fmt: skip
def test_a_name_that_holds_secrets_is_known(name: str) -> None:
    assert Path(name).name in secret_by_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "environment.py",
        "env",
        "key.py",
        "monkey",
        "keys.md",
        "pem.txt",
        "idea.txt",
        "a\0b",
        "",
        ".",
        "~no-one/x",
    ],
)
def test_an_ordinary_name_is_no_secret(name: str) -> None:
    assert secret_by_name(name) == ""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n", "a private key"),
        ("-----BEGIN " + "PRIVATE KEY-----", "a private key"),
        ("aws_access_key_id = AKIA" + "ABCDEFGHIJKLMNOP", "an AWS key"),
        ("key: sk-ant-" + "api03-" + "x" * 40, "a key for Claude"),
        ("OPENAI=sk-" + "a1" * 24, "a key for an API"),
        ("git clone https://ghp_" + "a1" * 18 + "@github.com", "an access token"),
    ],
)
def test_a_text_with_a_key_in_it_is_known(text: str, what: str) -> None:
    assert secret_in(f"Dear diary,\n{text}\nYours") == f"The text holds what looks like {what}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Type sk-ant-... here",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "AKIAxyz",
        "a task-ant-farm",
    ],
)
def test_a_text_about_keys_is_no_secret(text: str) -> None:
    assert secret_in(text) == ""


@pytest.mark.skipif(os.name == "nt", reason="making a link takes a privilege on Windows")
def test_a_link_is_judged_by_what_it_leads_to_and_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").symlink_to(".env")
    (tmp_path / "site.pem").symlink_to("plain")
    (tmp_path / "loop").symlink_to("loop")
    assert secret_by_name(str(tmp_path / "notes.txt")) == ".env holds secrets by its name"
    assert secret_by_name(str(tmp_path / "site.pem")) == "site.pem holds secrets by its name"
    assert secret_by_name(str(tmp_path / "loop")) == ""


@given(name=st.text())
def test_no_name_is_too_strange_to_be_judged(name: str) -> None:
    assert isinstance(secret_by_name(name), str)
