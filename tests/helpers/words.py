"""Words that strangers write: what would read them, if they were not shown as they are?"""

from __future__ import annotations

LITERAL = {
    "formula": r"$\frac{$ and $x_1$",
    "Markdown": "**b** `c` ![a](http://127.0.0.1:9/x) [d](http://127.0.0.1:9/y) # 1. _e_",
    "HTML": "<img src=x onerror=alert(1)> <b>b</b> &lt; 'q' \"r\"",
    "XML": "--> ]]> </text><script>alert(1)</script>",
    "links": "http://127.0.0.1:9/z www.example.com a@b.example",
    "Streamlit": ":red[b] :smile: :material/info: :material_info: :streamlit:",
    "arrows": "a -> b <- c -- d >= e <= f ~= g <-> h",
    "plotly": "%{x} %{customdata} <extra>e</extra> <a href='http://127.0.0.1:9/'>c</a><br>",
    "Jinja": "{{7*7}} {% raw %} {0} %s",
    "spreadsheet": '=HYPERLINK("http://127.0.0.1:9/";"a"), b',
    "marks": "a" + "\u0301" * 500,
}
"""Every sign of them can be printed, and stands for itself, or is cut."""

CONTROLS = {
    "terminal": "\x1b[31mred\x1b[0m\x07",
    "nothing": "a\x00b",
    "lines": "a\nb\r\nc",
    "right to left": "\u202egpj.exe",
    "half a sign": "a\udc80b",
    "a family": "\U0001f468\u200d\U0001f469",
}
"""They have signs that no file and no terminal should get."""

LONG = "x" * 10_000
