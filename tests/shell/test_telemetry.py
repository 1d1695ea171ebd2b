"""Logs: escaped, cut, private, turned over."""

import json
import logging

import pytest
import structlog

from p2pai.shell import telemetry


@pytest.fixture(autouse=True)
def _restore():
    level = logging.getLogger().level
    yield
    telemetry._replace_handlers([], logging.NOTSET)
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def _lines(directory):
    return [json.loads(line) for line in (directory / "node.log").read_text().splitlines()]


def _log():
    return structlog.get_logger("p2pai.shell.test")


def test_lines_go_to_the_file_and_warnings_to_stderr_too(tmp_path, capsys):
    telemetry.configure(tmp_path)
    _log().debug("too fine")
    _log().info("quiet", height=7)
    _log().warning("loud", remote="12D3")
    lines = _lines(tmp_path)
    assert [(line["event"], line["level"]) for line in lines] == [("quiet", "info"), ("loud", "warning")]
    assert lines[0]["height"] == 7
    assert lines[0]["timestamp"].endswith("Z")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "warning: loud remote=12D3\n"
    assert (tmp_path / "node.log").stat().st_mode & 0o077 == 0


def test_remote_text_can_not_forge_lines_or_fill_the_log(tmp_path, capsys):
    telemetry.configure(tmp_path)
    hostile = 'x\n{"event": "forged"}\r\x1b[2J\u202e' + "A" * 10_000
    _log().warning("heard", text=hostile, data=b"\x1b" * 500, what={"k": hostile})
    _log().warning(hostile)
    lines = _lines(tmp_path)
    assert len(lines) == 2
    assert all(len(str(value)) <= 400 for line in lines for value in line.values())
    assert lines[0]["text"].startswith("x\\n{")
    err = capsys.readouterr().err
    assert err.count("\n") == 2
    assert not any(c in err for c in "\x1b\r\u202e")


def test_a_traceback_is_for_the_file_alone(tmp_path, capsys):
    telemetry.configure(tmp_path)
    try:
        raise AssertionError("two tips")
    except AssertionError:
        _log().exception("stopped")
    assert "two tips" in _lines(tmp_path)[0]["exception"]
    assert capsys.readouterr().err == "error: stopped\n"


def test_libraries_are_heard_from_warnings_on(tmp_path):
    telemetry.configure(tmp_path)
    logging.getLogger("some.library").info("a frame")
    logging.getLogger("some.library").warning("a %s\n", "problem")
    assert [line["event"] for line in _lines(tmp_path)] == ["a problem\\n"]


def test_configuring_again_replaces_and_the_file_is_turned_over(tmp_path, monkeypatch):
    monkeypatch.setattr(telemetry, "FILE_BYTES_MAX", 1000)
    telemetry.configure(tmp_path / "a")
    telemetry.configure(tmp_path / "b")
    for i in range(100):
        _log().info("line", number=i)
    assert _lines(tmp_path / "a") == []
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == ["node.log", "node.log.1", "node.log.2"]
    assert all(path.stat().st_size <= 1000 for path in (tmp_path / "b").iterdir())
    assert _lines(tmp_path / "b")[-1]["number"] == 99


def test_a_tool_logs_to_stderr_alone(capsys):
    telemetry.configure_tool()
    _log().info("quiet")
    _log().warning("loud")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "warning: loud\n")
