"""The diagram of a network: words stay in their boxes, skips end where tokens are added."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import BboxBase

from tests.helpers.records import all_made
from vit_inspect.figures import anatomy, diagram, print_sheet
from vit_inspect.figures.diagram import Arrow, Box, Note, Sum
from vit_inspect.records.anatomy import Anatomy, Skip

RECORDS = dict(zip(("plain", "staged", "parallel"), all_made(Anatomy), strict=True))
WIDTHS = (3.25, 5.5, 6.9)


@pytest.fixture(params=RECORDS)
def record(request: pytest.FixtureRequest) -> Anatomy:
    return RECORDS[request.param]


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_words_stay_in_their_boxes_and_on_nothing_else(record: Anatomy, width: float) -> None:
    figure = anatomy.draw(record, width_in=width)
    figure.set_dpi(150)
    figure.draw_without_rendering()
    assert figure.get_size_inches()[0] == pytest.approx(width)
    renderer = figure._get_renderer()  # type: ignore[attr-defined]
    (axes,) = figure.axes
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 6
    places = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    for (text, place), (other, beside) in combinations(places, 2):
        assert not place.padded(-0.5).overlaps(beside.padded(-0.5)), (text, other)
    patches = [each for each in axes.patches if isinstance(each, FancyBboxPatch)]
    boxes = [each.get_window_extent(renderer) for each in patches]
    boxes.remove(max(boxes, key=lambda box: box.height))
    for text, place in places:
        assert holds(figure.bbox, place), text
        for box in boxes:
            assert holds(box, place) or not box.overlaps(place.padded(-0.5)), text


def holds(box: BboxBase, other: BboxBase) -> bool:
    return bool(
        box.x0 <= other.x0 and other.x1 <= box.x1 and box.y0 <= other.y0 and other.y1 <= box.y1
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_runs_through_words(record: Anatomy, width: float) -> None:
    scene = anatomy.scene(record, 72 * width)
    notes = [item for item in scene.items if isinstance(item, Note)]
    lines = [
        pair
        for item in scene.items
        if isinstance(item, Arrow)
        for pair in zip(item.points, item.points[1:], strict=False)
    ]
    for note in notes:
        wide = print_sheet.text_width(note.text, diagram.WORD_PT if note.word else diagram.SMALL_PT)
        left = note.x - {"left": 0, "center": wide / 2, "right": wide}[note.anchor]
        for (x, y), (to_x, to_y) in lines:
            for step in range(101):
                at = x + (to_x - x) * step / 100, y + (to_y - y) * step / 100
                hit = left <= at[0] <= left + wide and abs(at[1] - note.y) < 2.5
                assert not hit, note.text


def test_each_skip_begins_below_its_branch_and_ends_at_a_sum(record: Anatomy) -> None:
    scene = anatomy.scene(record, 400)
    sums = [item for item in scene.items if isinstance(item, Sum)]
    skips = [item for item in scene.items if isinstance(item, Arrow) and len(item.points) == 4]
    count = sum(isinstance(part, Skip) for part in record.block.parts)
    assert len(skips) == count
    for skip in skips:
        (start_x, start), *_, (end_x, end) = skip.points
        (target,) = (each for each in sums if each.y == pytest.approx(end))
        assert end_x == pytest.approx(target.x + diagram.SUM_PT)
        assert start_x == target.x
        assert start < end


def branches(record: Anatomy) -> list[set[str]]:
    """The words of the boxes that each skip passes."""
    scene = anatomy.scene(record, 400)
    skips = [item for item in scene.items if isinstance(item, Arrow) and len(item.points) == 4]
    boxes = [item for item in scene.items if isinstance(item, Box) and item.word]
    return [
        {
            box.word
            for box in boxes
            if skip.points[0][1] < box.bottom < skip.points[-1][1]
            and box.left < skip.points[0][0] < box.left + box.width
        }
        for skip in skips
    ]


def test_a_skip_passes_its_own_parts_only() -> None:
    assert branches(RECORDS["plain"]) == [
        {"LayerNorm", "Attention", "Layer scale"},
        {"LayerNorm", "MLP", "Layer scale"},
    ]
    assert branches(RECORDS["staged"]) == [{"Attention", "LayerNorm"}, {"Gated MLP", "LayerNorm"}]


def test_parts_beside_each_other_are_drawn_beside_each_other() -> None:
    scene = anatomy.scene(RECORDS["parallel"], 400)
    boxes = {item.word: item for item in scene.items if isinstance(item, Box) and item.left > 200}
    attention, mlp = boxes["Attention"], boxes["MLP"]
    assert attention.bottom == mlp.bottom
    assert attention.left + attention.width < mlp.left
    chained = replace(RECORDS["parallel"].stages[0].blocks[0], beside=())
    stage = replace(RECORDS["parallel"].stages[0], blocks=(chained,))
    scene = anatomy.scene(replace(RECORDS["parallel"], stages=(stage,)), 400)
    boxes = {item.word: item for item in scene.items if isinstance(item, Box) and item.left > 200}
    assert boxes["Attention"].bottom < boxes["MLP"].bottom


def test_parts_whose_order_is_not_known_have_no_arrows() -> None:
    plain = RECORDS["plain"]
    parts = tuple(part for part in plain.block.parts if not isinstance(part, Skip))
    block = replace(plain.block, parts=parts)
    for ordered in (True, False):
        stage = replace(plain.stages[0], blocks=(replace(block, ordered=ordered),))
        scene = anatomy.scene(replace(plain, stages=(stage,)), 400)
        arrows = [
            item
            for item in scene.items
            if isinstance(item, Arrow) and item.head and item.points[0][0] > 200
        ]
        assert bool(arrows) == ordered


def words_of(record: Anatomy) -> dict[str, list[tuple[str, ...]]]:
    """The lines of all boxes by their word."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for item in anatomy.scene(record, 500).items:
        if isinstance(item, Box) and item.word:
            lines = tuple(line.replace("\u00a0", " ") for line in item.lines)
            found.setdefault(item.word, []).append(lines)
    return found


def test_boxes_tell_the_sizes_of_the_record() -> None:
    plain = words_of(RECORDS["plain"])
    assert plain["Patch embedding"] == [("Convolution", "8 × 8, stride 8", "3 → 16 channels")]
    assert plain["Special tokens"] == [("cls, reg1",)]
    assert plain["Position embedding"] == [("+ table of 8 × 16",)]
    assert plain["Block × 3"] == [()]
    assert plain["Attention"] == [("2 heads × 8",)]
    assert plain["MLP"] == [("16 → 64 → 16", "GELU")]
    assert plain["Read-out"] == [("token cls",)]
    assert plain["Head"] == [("16 → 4",)]
    assert plain["Output"] == [("4 values",)]
    staged = words_of(RECORDS["staged"])
    assert staged["StdConv"][0][2] == "GroupNorm 64, 32 groups, ε 1e-5"
    assert staged["Convolution stage 1"][0][0] == "10 convolutions, 3 skips"
    assert staged["Patch merging"] == [("LayerNorm 16, ε 1e-6", "Linear 64 → 16, no bias")]
    assert staged["Attention"][0][1:] == (
        "LayerNorm of queries and keys",
        "1 heads of keys and values",
        "bias of relative positions",
        "in windows of 4 tokens",
    )
    # What the network returns is no vector: nothing is read out.
    assert "Read-out" not in staged
    assert staged["Output"] == [("16 × 2 × 3 values",)]
    parallel = words_of(RECORDS["parallel"])
    assert parallel["Attention pool"] == [("2 heads × 8",)]
    assert parallel["MLP, with a skip"] == [("LayerNorm 16, ε 1e-6", "16 → 64 → 16", "GELU")]
    assert len(parallel["LayerNorm"]) == 2
    assert parallel["Attention"] == [("2 heads × 8, no bias", "rotary positions")]


def test_sentences_tell_what_the_drawing_does_not() -> None:
    text = "\n".join(anatomy.plot(RECORDS["plain"]).layout.meta)
    assert "This model: 3 layers, width 16, MLP 64, 2 heads, 9.12\u00a0M parameters." in text
    assert "The nearest named size is ViT-X (a paper, Table 1)." in text
    assert "In no part that is drawn: mask_token (16 values)." in text
    exact = anatomy.plot(replace(RECORDS["plain"], exact=True)).layout.meta
    assert "The size is ViT-X (a paper, Table 1)." in exact
    staged = "\n".join(anatomy.plot(RECORDS["staged"]).layout.meta)
    assert "Other parts or sizes than in block 0: 2." in staged
    assert "it is no row of Table 1" in staged
    none = anatomy.plot(replace(RECORDS["plain"], variant=None)).layout.meta
    assert "No named size is near." in none


def test_a_screen_says_the_trained_values_of_a_box() -> None:
    figure = anatomy.plot(RECORDS["plain"])
    (points,) = figure.data
    assert any("Attention" in text and "1,088 trained values" in text for text in points.text)
    values = sum(part.parameters for part in RECORDS["plain"].block.parts)
    assert any("Block × 3" in text and f"{3 * values:,}" in text for text in points.text)


def test_a_narrow_screen_has_a_taller_diagram() -> None:
    wide, narrow = (anatomy.plot(RECORDS["plain"], width=width) for width in (720, 390))
    assert narrow.layout.height > wide.layout.height
    assert narrow.layout.xaxis.range[1] < wide.layout.xaxis.range[1]
