"""The code in the README and the documents runs, from top to bottom of each."""

import re
from pathlib import Path

import processes
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_blocks_run(page):
    """In a process of its own, as a reader's: pages define kernels, and write to far memory."""
    text = page.read_text(encoding="utf-8")
    program = "variables = {'__name__': 'document'}\n"
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        code = "\n" * (text[: match.start()].count("\n") + 1) + match[1]
        program += f"exec(compile({code!r}, {str(page)!r}, 'exec'), variables)\n"
    processes.finish(processes.start(program))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for path in re.findall(
        r"`((?:minigrad|kernels|benchmarks|tests|examples|docs)/[\w./-]*)`", text
    ):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
