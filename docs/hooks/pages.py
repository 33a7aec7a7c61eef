"""MkDocs hooks: fill in what pages take from the code, and point links out of docs/ at the right place.

A page asks for a part with a comment on a line of its own, such as `<!-- generated: configuration -->`.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "docs" / "hooks"), str(ROOT / "scripts")]

from mkdocs.exceptions import PluginError

import config_reference
import draw_design
import model_zoo
import operator_report

PARTS = {
    "configuration": config_reference.table,
    "model_zoo": model_zoo.table,
    "operators": operator_report.table,
    "launches": operator_report.launches,
    "design": lambda language: f"<div>{draw_design.draw(draw_design.read_imports())}</div>",
}
_ASKED = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page, config, files) -> str:
    """The page's text with its generated parts."""
    language = "zh" if page.file.src_uri.endswith(".zh.md") else "en"

    def part(match: re.Match) -> str:
        if match[1] not in PARTS:
            raise PluginError(f"{page.file.src_uri}: nothing generates {match[1]!r}; known: {', '.join(PARTS)}")
        return PARTS[match[1]](language)

    def outside(match: re.Match) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if not (ROOT / "docs" / target).exists():
            raise PluginError(f"{page.file.src_uri}: {target} does not exist")
        address = (config.repo_url or "").rstrip("/")
        return f"[{text}]({address}/blob/main/{target.removeprefix('../')}{anchor})" if address else text

    return _OUTSIDE.sub(outside, _ASKED.sub(part, markdown))
