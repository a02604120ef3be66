"""The ways to a bucket, and files that many threads read at once."""

import io
import threading
from collections.abc import Callable

import pytest

from helmframe.config import S3Options, Secret
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.scenarios import remote
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.remote import _HandlePerThread, _s3fs, _secret_statement
from helmframe.scenarios.sources import connect
from tests.scenarios.readers import DUCKDB_1, READERS


def test_with_duckdb_1_both_readers_are_tested() -> None:
    assert (["httpfs", "s3fs"] if DUCKDB_1 else ["s3fs"]) == READERS


def test_each_thread_has_its_own_place_in_a_file() -> None:
    file = _HandlePerThread(lambda: io.BytesIO(b"0123456789"))
    file.seek(2)
    in_another_thread(lambda: file.seek(7))
    assert file.read(1) == b"2"


def test_what_a_thread_reads_does_not_move_another() -> None:
    file = _HandlePerThread(lambda: io.BytesIO(b"0123456789"))
    file.seek(2)
    in_another_thread(lambda: file.read(5))
    assert (file.tell(), file.read(1)) == (2, b"2")


def test_a_file_that_is_not_there_is_an_error_when_it_is_opened() -> None:
    def missing() -> object:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        _HandlePerThread(missing)


def test_the_files_of_a_bucket_have_a_handle_per_thread_and_do_not_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("s3fs.S3FileSystem.open", lambda _self, *said, **more: opened.append((said, more)))
    assert isinstance(_s3fs(S3Options(anonymous=True)).open("bucket/file"), _HandlePerThread)
    assert opened == [(("bucket/file", "rb"), {"cache_type": "none"})]


def test_httpfs_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "httpfs_file", lambda: None)
    monkeypatch.setenv("HELMFRAME_S3_READER", "httpfs")
    with pytest.raises(CapabilityError, match=r"scenario 'mmlu': s3://b/mmlu/.* with httpfs: no build for"):
        connect(find_scenario("mmlu"), "s3://b")


def test_a_reader_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_S3_READER", "s3f")
    with pytest.raises(ArgumentError, match="Did you mean 's3fs'"):
        connect(find_scenario("mmlu"), "s3://b")


def test_a_secret_with_a_quote_stays_one_literal() -> None:
    options = S3Options("http://host:1", Secret("k"), Secret("a'); DROP TABLE t; --"))
    assert _secret_statement(options) == (
        "CREATE SECRET (TYPE s3, KEY_ID 'k', SECRET 'a''); DROP TABLE t; --', SESSION_TOKEN '', "
        "ENDPOINT 'host:1', URL_STYLE 'path', USE_SSL false)"
    )


def in_another_thread(action: Callable[[], object]) -> None:
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()
