"""What is seen on a sheet for print, and does any of it overlap or end beyond the sheet?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def words(figure: Figure) -> list[Text]:
    """All texts that are seen."""
    figure.set_dpi(150)
    figure.draw_without_rendering()
    # Of the numbers of an axis only those between its ends are seen.
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.majorTicks, *axis.minorTicks)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    return [
        each
        for each in figure.findobj(Text)
        if each.get_visible() and each.get_text().strip() and each not in beyond
    ]


def check_sheet(figure: Figure) -> list[Text]:
    """That nothing ends beyond the sheet, and no words lie on others or on another's panel.

    Returns what `words` does.
    """
    texts, sheet = words(figure), figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for text, box in boxes:
        assert sheet.x0 <= box.x0 <= box.x1 <= sheet.x1, text
        assert sheet.y0 <= box.y0 <= box.y1 <= sheet.y1, text
    # With all that is no word, but for what rounding makes of an equal size.
    # `Figure.get_tightbbox` would measure all panels once more.
    around = [axes.get_tightbbox() for axes in figure.axes]
    free = [each.get_tightbbox() for each in figure.get_children() if each not in figure.axes]
    drawn = Bbox.union([box for box in (*around, *free) if box and np.isfinite(box.bounds).all()])
    drawn = drawn.padded(-1e-4)
    assert sheet.x0 <= drawn.x0 <= drawn.x1 <= sheet.x1
    assert sheet.y0 <= drawn.y0 <= drawn.y1 <= sheet.y1
    # Letters of axes may touch at 150 dpi; words of the sheet may not.
    inner = [
        (name, box if text in figure.texts else box.padded(-1))
        for text, (name, box) in zip(texts, boxes, strict=True)
    ]
    for (text, box), (other, place) in combinations(inner, 2):
        assert not box.overlaps(place), (text, other)
    # Two axes of one place, such as a scale on each side, are one panel.
    places = {axes: axes.get_window_extent() for axes in figure.axes}
    panels = {place.bounds: place for place in places.values()}.values()
    for first, second in combinations(panels, 2):
        assert not first.overlaps(second)
    # Words of the sheet also keep off what a panel has around it.
    for text, (name, box) in zip(texts, inner, strict=True):
        own = places[text.axes].bounds if text.axes else None
        for panel in around if text in figure.texts else panels:
            assert panel.bounds == own or not box.overlaps(panel), name
    return texts
