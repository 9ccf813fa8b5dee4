"""Programs run in a process of their own, where a test needs one that has done nothing yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import minigrad
import minigrad_kernels

PATHS = [
    str(Path(minigrad.__file__).parents[1]),
    str(Path(minigrad_kernels.__file__).parents[1]),
    str(Path(__file__).parent),
]
PATIENCE = 240
"""Seconds after which a process counts as hanging: several times what compiling takes."""


def start(code: str, **environment: str) -> subprocess.Popen[str]:
    """Run Python code with variables added to the environment."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed, to its two outputs; fails if it failed, or hangs."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the process hangs\n{out}{err}") from None
    assert process.returncode == 0, f"exit status {process.returncode}\n{out}{err}"
    return out, err


def run(code: str, **environment: str) -> tuple[str, str]:
    """`start` and `finish`."""
    return finish(start(code, **environment))
