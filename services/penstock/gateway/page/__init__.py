"""The live page as one document: page.html with page.css and the scripts in it, so that it needs nothing from outside.

Read once, when the process starts. What may run or load is named by hash: text of an answer or of a worker can never
become a program.
"""

import base64
import hashlib
from importlib import resources

_SCRIPTS = ("format.js", "charts.js", "feed.js", "prompt.js", "page.js")


def _read(name: str) -> str:
    return (resources.files(__name__) / name).read_text(encoding="utf8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE = _read("page.css")
_SCRIPT = "\n".join(map(_read, _SCRIPTS))
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    f"style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}"
)
PAGE = _read("page.html").replace("/* page.css */", _STYLE).replace("/* scripts */", _SCRIPT).encode()
PAGE_HEADERS = ((b"content-security-policy", _POLICY.encode()), (b"cache-control", b"no-cache"))
