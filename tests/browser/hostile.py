"""Texts that want to be more than text, and how a page should show them."""

from typing import Any

# What models answer: the last is 5 MB in one line.
HOSTILE = [
    "<script>alert('script')</script>",
    "<img src=x onerror=\"alert('img')\">",
    "</script><script>alert('closed')</script>",
    "<svg onload=alert('svg')><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "</pre></textarea></title><iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "'\"><details open ontoggle=alert('toggle')>",
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} javascript:alert(1)",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "left \u202e thgir ot \u2066isolated\u2069 zero\u200bwidth \u0000 nul",
    "x" * 5_000_000,
]
# What models, scenarios and perturbed inputs are called: each fits a chart.
NAMES = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<!--<script>alert(1)//-->",
    "javascript:alert(1)",
    "'\"><b onmouseover=alert(1)>",
    "${alert(1)}{{alert(1)}}",
    "a\u202eb\x1b[31m",
]


def visible(text: str) -> str:
    """The text with the characters named that leave no mark."""
    unseen = "\x00\x1b\x07\u202e\u2066\u2069\u200b"
    return "".join(f"⟨U+{ord(each):04X}⟩" if each in unseen else each for each in text)


def cut(text: str, most: int) -> str:
    """The same, its start alone where it is longer, and how much is left out."""
    more = len(text) - most
    return visible(text[:most]) + (f"… ({more:,} more characters)" if more > 0 else "")


def serious(page: Any) -> list[str]:
    """What axe-core finds that keeps people from reading a page: rules of impact serious or critical, with places."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {[node['html'][:200] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
