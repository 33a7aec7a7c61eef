"""The shell blocks of the READMEs and the documentation: each is marked, and those of seconds are run."""

from pathlib import Path

import pytest
import shell_blocks
from shell_blocks import ROOT, Block, Unmarked, blocks_of, pages, prepare, run, run_page, to_run

PAGES = {page.relative_to(ROOT).as_posix(): page for page in pages()}


def marked(page: Path) -> bool:
    try:
        return bool(to_run(page, ("seconds",)))
    except Unmarked:
        return False


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("clone"))


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_how_it_is_run(name):
    blocks_of(PAGES[name])


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if marked(page)])
def test_blocks_run_as_they_stand(name, prepared):
    assert run_page(PAGES[name], prepared, ("seconds",)) == []


def test_a_block_without_a_comment_is_named(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: seconds -->\n```bash\ntrue\n```\n\n```bash\nfalse\n```\n<!-- not run: lazy -->\n```bash\n```\n"
    )
    with pytest.raises(Unmarked, match=r"page.md:6: false\npage.md:10: an empty block$"):
        blocks_of(page, tmp_path)


def test_a_translation_with_the_same_commands_is_run_once(tmp_path):
    block = "<!-- run: seconds -->\n```bash\ntrue\n```\n"
    original, translation = tmp_path / "page.md", tmp_path / "page.zh.md"
    original.write_text(block)
    translation.write_text(block)
    assert [block.text for block in to_run(original, ("seconds",), tmp_path)] == ["true"]
    assert to_run(translation, ("seconds",), tmp_path) == []
    translation.write_text(block.replace("true", "false") + block)
    assert [block.text for block in to_run(translation, ("seconds",), tmp_path)] == ["false", "true"]


def test_what_goes_wrong_is_said_with_page_and_output(tmp_path, monkeypatch):
    assert run(Block("page.md", 7, "python -c 'import pytest'", "seconds", ""), tmp_path) == ""
    problem = run(Block("page.md", 7, "echo before\nfalse | true\necho after", "seconds", ""), tmp_path)
    assert problem.startswith("page.md:7: exit status 1\n") and problem.endswith("\nbefore\n")
    monkeypatch.setitem(shell_blocks.TIME_LIMITS, "seconds", 0.5)
    problem = run(Block("page.md", 7, "sleep 60 & sleep 60", "seconds", ""), tmp_path)
    assert problem.startswith("page.md:7: still running after 0.5 s")
