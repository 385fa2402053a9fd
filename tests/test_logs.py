"""Logs: quiet as a library, one JSON object a line when asked, nothing secret in them."""

import json
import os
import subprocess
import sys

CODE = """
import sys
from structlog.contextvars import bound_contextvars
from geoseg_agent.logs import configure, log
if sys.argv[1] != "library": configure(sys.argv[1])
with bound_contextvars(trace_id="T1"):
    log.info("asked", api_key="sk-canary", image=b"pixels", text="x" * 9000, Authorization="Bearer sk-canary")
log.debug("detail")
"""


def logged(form):
    command = [sys.executable, "-c", CODE, form]
    child = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert child.stdout == ""
    return child.stderr


def test_json_lines_carry_the_trace_and_no_secret():
    (line,) = logged("json").splitlines()
    event = json.loads(line)

    assert (event["event"], event["trace_id"], event["level"]) == ("asked", "T1", "info")
    assert (event["api_key"], event["Authorization"]) == ("***", "***")
    assert event["image"] == "<6 bytes>"
    assert len(event["text"]) < 3000
    assert "canary" not in line


def test_people_get_one_readable_line():
    text = logged("console")

    assert "asked" in text
    assert "T1" in text
    assert "canary" not in text


def test_a_library_is_quiet():
    assert logged("library") == ""


def test_a_warning_of_a_library_is_a_line_of_text():
    code = CODE.replace("log.info(", "log.warning(")
    command = [sys.executable, "-c", code, "library"]
    child = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    (line,) = child.stderr.splitlines()
    assert line.startswith("event='asked'")
    assert "trace_id='T1'" in line
    assert "canary" not in line
