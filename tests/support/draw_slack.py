"""Draw Slack messages in Slack's layout, for the documentation.

    python tests/support/draw_slack.py MESSAGES.json docs/images/slack-approval.png

MESSAGES.json has the requests to `chat.postMessage`: a list of objects with `blocks`. The first is the message, the others are
its replies. Needs Chromium.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from browser import browsing

WIDTH = 760
# Characters that every font has, in place of Slack's emoji.
_SIGNS = {"white_check_mark": ("✔", "#007a5a"), "x": ("✘", "#e01e5a"), "raised_hand": ("⚑", "#de8500")}
_OTHER_SIGN = ("●", "#2b5fd9")
_STYLE = """
body { margin: 0; padding: 16px 20px; font: 15px/1.46668 Lato, "DejaVu Sans", sans-serif; color: #1d1c1d; background: #fff; width: 720px; }
.message { display: flex; gap: 8px; padding: 8px 0; }
.icon { width: 36px; height: 36px; border-radius: 6px; background: #2b5fd9; color: #fff; display: grid; place-items: center; flex: none; }
.body { flex: 1; } .who { font-weight: 900; } .app { font-size: 10px; background: #ddd; border-radius: 2px; padding: 1px 3px; color: #616061; }
.time, .context { color: #616061; font-size: 12px; } .header { font-size: 18px; font-weight: 900; margin: 4px 0; }
.block { margin: 4px 0 8px; white-space: pre-wrap; } .actions { display: flex; gap: 8px; flex-wrap: wrap; }
.button { border: 1px solid #bbb; border-radius: 8px; padding: 4px 12px; font-weight: 700; font-size: 14px; }
.primary { background: #007a5a; border-color: #007a5a; color: #fff; } .danger { background: #e01e5a; border-color: #e01e5a; color: #fff; }
.replies { border-left: 2px solid #ddd; margin-left: 18px; padding-left: 18px; } a { color: #1264a3; text-decoration: none; }
code { border: 1px solid #ddd; background: #f8f8f8; color: #c01343; padding: 1px 3px; border-radius: 3px; font-size: 12px; }
"""


def page(messages: list[dict[str, Any]]) -> str:
    """The messages as an HTML page."""
    first, *replies = (_message(each["blocks"]) for each in messages)
    thread = f"<div class=replies>{''.join(replies)}</div>" if replies else ""
    return f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>{first}{thread}"


def _message(blocks: list[dict[str, Any]]) -> str:
    who = "<span class=who>CodePipeline</span> <span class=app>APP</span>"
    return f"<div class=message><div class=icon>▶</div><div class=body>{who}{''.join(map(_block, blocks))}</div></div>"


def _block(block: dict[str, Any]) -> str:
    if block["type"] == "actions":
        return f"<div class='block actions'>{''.join(map(_button, block['elements']))}</div>"
    if block["type"] == "context":
        return f"<div class='block context'>{' '.join(map(_text, block['elements']))}</div>"
    return f"<div class='block {block['type']}'>{_text(block['text'])}</div>"


def _button(element: dict[str, Any]) -> str:
    return f"<span class='button {element.get('style', '')}'>{_text(element['text'])}</span>"


def _text(part: dict[str, Any]) -> str:
    text = html.escape(html.unescape(part["text"]), quote=False)
    if part["type"] == "mrkdwn":
        text = re.sub(r"&lt;([^|&]+)\|([^&]*)&gt;", r"<a>\2</a>", text)
        text = re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", text)
        text = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text)
    return re.sub(r":([a-z_]+):", _sign, text)


def _sign(match: re.Match[str]) -> str:
    sign, colour = _SIGNS.get(match[1], _OTHER_SIGN)
    return f"<span style='color: {colour}'>{sign}</span>"


def draw(messages: list[dict[str, Any]]) -> bytes:
    """The messages as PNG."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page(messages), encoding="utf-8")
        with browsing(chromium, Path(folder) / "profile", WIDTH, 100) as tab:
            tab.call("Page.navigate", url=file.as_uri())
            tab.wait("document.querySelector('.message')")
            height = tab.evaluate("document.documentElement.scrollHeight")
            tab.call(
                "Emulation.setDeviceMetricsOverride",
                width=WIDTH,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )
            return tab.picture()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
