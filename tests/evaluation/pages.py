"""Reads pages as a browser does: their elements, and how Chromium lays them out."""

import html.parser
import json
import os
import re
import shutil
import subprocess

_VOID = {"br", "circle", "img", "link", "meta", "path", "rect", "wbr"}
# Before anything else in a page: notes what goes wrong while it is loaded.
_WATCH = """<script>
const faults = [];
addEventListener("error", event => faults.push(event.message || event.target.outerHTML), true);
addEventListener("securitypolicyviolation", event => faults.push(event.blockedURI));
</script>"""
# At its end: opens what is folded and measures everything.
_MEASURE = """<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(each => { each.open = true; });
  const box = each => each.getBoundingClientRect();
  const empty = each => !(box(each).width > 0 && box(each).height > 0);
  const charts = [...document.querySelectorAll("svg")];
  const cut = chart => [...chart.querySelectorAll("text")].filter(text =>
    box(text).left < box(chart).left - 1 || box(text).right > box(chart).right + 1
    || box(text).top < box(chart).top - 1 || box(text).bottom > box(chart).bottom + 1);
  const result = {
    width: innerWidth,
    scrolls: document.documentElement.scrollWidth,
    charts: charts.length,
    empty: charts.filter(empty).map(each => each.outerHTML.slice(0, 200)),
    cut: charts.flatMap(cut).map(each => each.textContent),
    broken: [...document.images].filter(each => !each.naturalWidth || empty(each)).length,
    images: document.images.length,
    requests: performance.getEntriesByType("resource").map(each => each.name)
      .filter(name => !name.startsWith("data:")),
    faults: faults,
  };
  parent.postMessage(JSON.stringify(result), "*");
});
</script>"""
# A window is never as narrow as a phone, but a frame in it is.
_FRAME = """<!DOCTYPE html><meta charset="utf-8"><script>
addEventListener("message", event => {
  const shown = document.createElement("pre");
  shown.id = "measured";
  shown.textContent = event.data;
  document.body.append(shown);
});
</script><body><iframe src="watched.html" width="WIDTH" height="800" frameborder="0"></iframe>"""


def chromium() -> str | None:
    """Returns the path of Chromium or Chrome; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def laid_out(page, folder, width: int) -> dict:
    """Returns what Chromium says of a page in a frame of this width, and what it logged."""
    text = page.read_text("utf-8")
    watched = text.replace("<head>", f"<head>{_WATCH}", 1).replace("</body>", f"{_MEASURE}</body>")
    (folder / "watched.html").write_text(watched, "utf-8")
    frame = folder / "frame.html"
    frame.write_text(_FRAME.replace("WIDTH", str(width)), "utf-8")
    command = [
        *(chromium(), "--headless", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"),
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        *(f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 1300)},900"),
        *("--virtual-time-budget=5000", "--dump-dom", frame.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    logged = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {**json.loads(html.unescape(found[1])), "logged": logged}


class Page(html.parser.HTMLParser):
    """The elements of a page.

    Attributes:
        elements: name and attributes of each.
        texts: their texts.
    """

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, tag

    def handle_data(self, data):
        if self._open[-1:] != ["style"] and data.strip():
            self.texts.append(data)

    def all(self, tag: str) -> list[dict]:
        """Returns the attributes of all elements of a name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def addresses(self) -> list[str]:
        """Returns where the page gets or links something."""
        names = ("src", "href", "srcset", "data", "action", "xlink:href", "poster")
        return [a[name] for _, a in self.elements for name in names if a.get(name)]
