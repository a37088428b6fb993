"""The hub is listed and its files are chosen, over a real connection to a hub on loopback."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shammah.errors import HubError
from shammah.loader.hub import Listing, list_files
from shammah.loader.select import climbs, select, storable
from shammah.models.protocol import ListedFile
from tests.servers.hub import Drip, Fault, Hub, Lies, Packed, Page, Sends, Silence, Status, deaf
from tests.servers.loopback import closed_port

REPO = "owner/a-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OID = "f" * 40


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "hub" / REPO
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"tokens": []}')
    (folder / "onnx" / "model_q4f16.onnx").write_bytes(b"weights" * 1000)
    with Hub(tmp_path / "hub") as running:
        yield running


def listed(hub: Hub, token: str = "", deadline: float = 25.0) -> Listing:
    return list_files(REPO, "main", hub.url, token, deadline=deadline)


def refused(hub: Hub, route: Any, *faults: Fault, deadline: float = 25.0) -> HubError:
    hub.faults[route] = list(faults)
    with pytest.raises(HubError) as caught:
        listed(hub, deadline=deadline)
    assert caught.value.hint
    return caught.value


def test_a_listing_tells_the_commit_and_sizes_and_digests_of_all_files(hub: Hub) -> None:
    found = listed(hub)
    content = b"weights" * 1000
    assert found.commit == hub.commit(REPO)
    assert found.files == (
        ListedFile("config.json", 2, hashlib.sha1(b"blob 2\0{}").hexdigest()),
        ListedFile("onnx/model_q4f16.onnx", len(content), hashlib.sha256(content).hexdigest()),
        ListedFile("tokenizer.json", 14, hashlib.sha1(b'blob 14\0{"tokens": []}').hexdigest()),
    )


STATUSES = (400, 401, 403, 404, 405, 407, 408, 410, 418, 429, 451, 500, 502, 503, 504, 511)
LATER = (408, 429, 500, 502, 503, 504, 511)


@pytest.mark.parametrize("route", ["info", "tree"])
def test_each_status_of_a_listing_is_a_sentence_that_says_whether_to_try_again(hub: Hub, route: Any) -> None:
    for status in STATUSES:
        error = refused(hub, route, Status(status))
        assert f"status {status}" in str(error)
        assert "127.0.0.1" in str(error) or REPO in str(error)
        assert error.retryable == (status in LATER), status
        assert "connection" not in error.hint or status in (405, 418)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "accepted its terms"),
        (401, "RepoNotFound", "or it is private"),
        (404, "RevisionNotFound", "no such revision"),
    ],
)
def test_the_hubs_own_words_for_an_error_are_understood(hub: Hub, status: int, code: str, words: str) -> None:
    assert words in str(refused(hub, "info", Status(status, {"X-Error-Code": code})))


def test_a_limit_of_requests_is_told_with_its_seconds_and_not_waited_for(hub: Hub) -> None:
    assert "for 86400 s" in str(refused(hub, "tree", Status(429, {"Retry-After": "86400"})))
    assert len(hub.asked) == 2


def test_a_sign_in_page_is_told_as_such(hub: Hub) -> None:
    error = refused(hub, "info", Page())
    assert "web page" in str(error)
    assert "sign-in" in error.hint


@pytest.mark.parametrize("route", ["info", "tree"])
def test_a_listing_that_opens_to_gigabytes_is_not_opened(hub: Hub, route: Any) -> None:
    assert "packed" in str(refused(hub, route, Packed(64 << 20)))


def test_a_listing_that_does_not_end_is_left(hub: Hub) -> None:
    assert "does not end" in str(refused(hub, "tree", Lies(["x" * (33 << 20)]), deadline=300.0))


@pytest.mark.parametrize(
    "answer", [None, 1, [], "text", {}, {"sha": None}, {"sha": "../../../x"}, {"sha": COMMIT[:39] + "/"}, {"id": []}]
)
def test_an_answer_that_is_no_repository_is_said_to_be_none(hub: Hub, answer: Any) -> None:
    assert "no listing" in str(refused(hub, "info", Lies(answer)))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [1],
        {"error": 1},
        [{"type": "file"}],
        [{"type": "file", "path": "a", "size": -1, "oid": OID}],
        [{"type": "file", "path": "a", "size": "1", "oid": OID}],
        [{"type": "file", "path": "a", "size": 1e300, "oid": OID}],
        [{"type": "file", "path": "a", "size": 1, "oid": "../x"}],
        [{"type": "file", "path": 1, "size": 1, "oid": OID}],
        [{"type": "file", "path": "a", "size": 1, "oid": OID, "lfs": {"oid": 1, "size": 1}}],
        [{"type": "file", "path": "a", "size": 1, "oid": OID, "lfs": "x"}],
    ],
)
def test_an_answer_that_is_no_list_of_files_is_said_to_be_none(hub: Hub, answer: Any) -> None:
    assert "no listing" in str(refused(hub, "tree", Lies(answer)))


HOSTILE = (
    *("../out", "a/../../out", "/etc/passwd", "C:/x", "C:x", "..\\out", "\\\\host\\share\\x"),
    *("a//b", "./a", "a\0b", "a\nb", "", ".."),
)


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_leads_elsewhere_makes_the_repository_unusable(hub: Hub, path: str) -> None:
    entries = [{"type": "file", "path": path, "size": 1, "oid": OID}]
    error = refused(hub, "tree", Lies(entries))
    assert repr(path) in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    "name", ["aux", "CON.txt", "a/nul.json", "com1", "ab:c", "a?", "a ", "a.", "x" * 300, "a.part"]
)
def test_a_name_that_not_every_system_stores_is_left_out(hub: Hub, name: str) -> None:
    entries = [{"type": "file", "path": path, "size": 1, "oid": OID} for path in (name, "config.json")]
    hub.faults["tree"] = [Lies(entries)]
    assert climbs(name) is False
    assert [file.path for file in listed(hub).files] == ["config.json"]
    assert storable("onnx/model.onnx_data")


def test_nothing_is_shown_to_a_hub_without_a_token(hub: Hub) -> None:
    listed(hub)
    assert not [asked for asked in hub.asked if "Authorization" in asked.headers]


def test_the_token_is_shown_to_the_hub_and_to_no_other_host(hub: Hub) -> None:
    elsewhere = hub.url.replace("127.0.0.1", "localhost")
    hub.token = "hf_secret"
    hub.faults["tree"] = [Sends(f"{elsewhere}/cdn/{REPO}/resolve/main/config.json", times=1)]
    assert listed(hub, "hf_secret").files == ()
    shown = [(asked.route, asked.headers.get("Authorization")) for asked in hub.asked]
    assert shown == [("info", "Bearer hf_secret"), ("tree", "Bearer hf_secret"), ("cdn", None)]


def test_a_token_that_the_hub_does_not_know_is_said_to_be_wrong(hub: Hub) -> None:
    hub.token = "right"
    with pytest.raises(HubError, match="does not accept the token"):
        listed(hub, "wrong")


def test_a_repository_that_is_not_there_is_said_to_be_missing_or_private(hub: Hub) -> None:
    with pytest.raises(HubError, match=r"There is no owner/other on .*or it is private"):
        list_files("owner/other", "main", hub.url)


def test_what_is_no_name_of_a_repository_is_refused_without_asking(hub: Hub) -> None:
    with pytest.raises(HubError, match="no name of a repository"):
        list_files("owner/../x", "main", hub.url)
    assert hub.asked == []


@pytest.mark.parametrize("route", ["info", "tree"])
@pytest.mark.parametrize("fault", [Silence(), Drip(8.0), Drip(8.0, headers=True)])
def test_a_hub_that_does_not_answer_is_left(hub: Hub, route: Any, fault: Fault) -> None:
    error = refused(hub, route, fault, deadline=0.6)
    assert "next to nothing for 1 s" in str(error)
    assert error.retryable


def test_a_hub_that_takes_no_call_is_left() -> None:
    with deaf() as port, pytest.raises(HubError, match="next to nothing") as caught:
        list_files(REPO, "main", f"http://127.0.0.1:{port}", deadline=0.6)
    assert caught.value.retryable


def test_a_hub_without_an_address_is_told_from_one_that_refuses() -> None:
    with pytest.raises(HubError, match=re.escape("No address is known for nowhere.invalid")):
        list_files(REPO, "main", "http://nowhere.invalid")
    port = closed_port()
    with pytest.raises(HubError, match=f"127.0.0.1:{port} refuses the connection"):
        list_files(REPO, "main", f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("endpoint", ["ftp://127.0.0.1", "127.0.0.1:1", "", "http://", "http://[x", "http://a b"])
def test_an_endpoint_that_is_no_web_address_is_an_error(endpoint: str) -> None:
    with pytest.raises(HubError):
        list_files(REPO, "main", endpoint)


def test_a_hub_that_does_not_speak_tls_is_told_as_such(hub: Hub) -> None:
    with pytest.raises(HubError, match="does not speak TLS"):
        list_files(REPO, "main", hub.url.replace("http:", "https:"))


def test_a_certificate_that_nobody_vouches_for_is_told_as_such(hub: Hub, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    certificate = tmp_path / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    subprocess.run([*made, "-keyout", certificate, "-out", tmp_path / "c.pem"], check=True, capture_output=True)
    certificate.write_bytes(certificate.read_bytes() + (tmp_path / "c.pem").read_bytes())
    with (
        Hub(hub.folder, certificate=certificate) as secure,
        pytest.raises(HubError, match="cannot be trusted") as caught,
    ):
        listed(secure)
    assert not caught.value.retryable
    assert "SSL_CERT_FILE" in caught.value.hint


# Which files

EXPORT = ("config.json", "tokenizer.json", "generation_config.json", "tokenizer_config.json")


def files(*paths: str) -> list[ListedFile]:
    return [ListedFile(path, 1, OID) for path in paths]


def chosen(*paths: str, wanted: str = "") -> list[str]:
    return [file.path for file in select(REPO, files(*paths), wanted).files]


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (("model", "model_fp16", "model_q4", "model_q4f16", "model_int8", "model_bnb4"), "model_q4f16"),
        (("model", "model_fp16", "model_q4", "model_quantized"), "model_q4"),
        (("model", "model_fp16", "model_uint8"), "model_fp16"),
        (("model", "model_int8"), "model"),
    ],
)
def test_the_smallest_graph_that_holds_what_prepare_needs_is_taken(there: tuple[str, ...], taken: str) -> None:
    graphs = [f"onnx/{name}.onnx" for name in there]
    assert chosen(*EXPORT, *graphs, "README.md") == [*EXPORT, f"onnx/{taken}.onnx"]


def test_every_file_of_external_data_comes_with_its_graph_and_no_other() -> None:
    data = ["onnx/model_q4.onnx.data", "onnx/model_q4.onnx_data", "onnx/model_q4.onnx_data_1"]
    others = ["onnx/model.onnx_data", "onnx/model_q4_x.onnx_data", "other/model_q4.onnx_data"]
    assert chosen(*EXPORT, "onnx/model_q4.onnx", *data, *others)[4:] == ["onnx/model_q4.onnx", *data]


def test_a_graph_that_a_person_names_wins() -> None:
    graphs = ["onnx/model_q4f16.onnx", "onnx/model_int8.onnx"]
    for wanted in ("onnx/model_int8.onnx", "model_int8.onnx"):
        assert chosen(*EXPORT, *graphs, wanted=wanted)[-1] == "onnx/model_int8.onnx"


def test_a_graph_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(HubError, match=re.escape("no model model_q8.onnx")) as caught:
        chosen(*EXPORT, "onnx/model_q4.onnx", wanted="model_q8.onnx")
    assert "onnx/model_q4.onnx" in caught.value.hint


def test_a_repository_of_safetensors_is_said_to_hold_no_onnx() -> None:
    with pytest.raises(HubError, match="only safetensors") as caught:
        chosen(*EXPORT, "model.safetensors")
    assert "onnx-community/a-model" in caught.value.hint


def test_an_export_without_its_tokenizer_is_refused() -> None:
    with pytest.raises(HubError, match=re.escape("no tokenizer.json")):
        chosen("config.json", "onnx/model.onnx")


def test_an_export_in_a_folder_of_the_repository_is_found_when_named() -> None:
    paths = [f"small/{name}" for name in (*EXPORT, "onnx/model.onnx")]
    found = select(REPO, files(*paths), "small/onnx/model.onnx")
    assert (found.root, found.graph, found.form) == ("small", "onnx/model.onnx", "export")
    assert {file.path for file in found.files} == set(paths)


def test_a_genai_folder_is_taken_whole_the_one_for_the_processor_first() -> None:
    cpu = [f"cpu-int4/{name}" for name in ("genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json")]
    found = select(REPO, files("README.md", "cuda/genai_config.json", "cuda/model.onnx", *cpu))
    assert (found.form, found.root) == ("genai", "cpu-int4")
    assert [file.path for file in found.files] == cpu
    assert chosen(*cpu, "cuda/genai_config.json", "cuda/model.onnx", wanted="cuda")[0] == "cuda/genai_config.json"


def test_a_graph_beside_a_genai_config_belongs_to_it() -> None:
    paths = ["config.json", "genai_config.json", "model.onnx", "tokenizer.json"]
    assert select(REPO, files(*paths)).form == select(REPO, files(*paths), "model.onnx").form == "genai"
