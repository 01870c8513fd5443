"""Draws the pictures of `docs/gallery.md`, from real runs of the bundled model on two samples.

    python -m scripts.gallery [FOLDER]

It takes about three minutes on two cores, most of them for the causal tests. Run it again when a
figure looks different, and look at what it drew.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

import vit_inspect as vi

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"

MODEL = "dinov2_small"
SIZE_PX = 518
"""The size that the model was trained for."""
SMALL_PX = 224
"""For figures that run the model many times."""

DPI = (140, 120, 105, 95, 85, 75, 65)
"""Of a picture: the first that makes it small enough."""
COLOURS = 256
"""Of a picture's palette: without dithering, a drawing compresses well."""
MAX_BYTES = 120_000


def records() -> Iterator[tuple[str, vi.Result]]:
    """Name of each picture, and the record that it shows."""
    model = vi.load(MODEL, img_size=SIZE_PX)
    yield "embedding_filters", vi.embedding_filters(model)
    yield "position_similarity", vi.position_similarity(model)
    cat = vi.capture(model, vi.sample("chelsea"))
    yield "attention_maps", vi.attention_maps(cat)
    yield "attention_maps_patch", vi.attention_maps(cat, query=(20, 14))
    yield "attention_distance", vi.attention_distance(cat)
    yield "attention_rollout", vi.attention_rollout(cat)
    yield "attention_relevance", vi.attention_relevance(cat)
    yield "head_statistics", vi.head_statistics(cat)
    yield "feature_pca", vi.feature_pca(cat)
    yield "token_similarity", vi.token_similarity(cat, patch=(15, 15))
    yield "layer_cka", vi.layer_cka(cat)
    temple = vi.capture(model, vi.sample("china"))
    yield "token_norms", vi.token_norms(temple)
    yield "attention_rollout_china", vi.attention_rollout(temple)
    yield "feature_pca_china", vi.feature_pca(temple)
    small = vi.capture(vi.load(MODEL, img_size=SMALL_PX), vi.sample("chelsea"))
    yield "ablation", vi.ablate(small, heads=[(7, 2), (7, 3)])
    yield "head_importance", vi.head_importance(small)
    yield "faithfulness", vi.faithfulness(small, steps=10)


def picture(record: vi.Result) -> bytes:
    """The print of a record as a small PNG; the same record gives the same bytes."""
    drawn = vi.draw(record)
    for dpi in DPI:
        page, small = io.BytesIO(), io.BytesIO()
        drawn.savefig(page, format="png", dpi=dpi)
        rgb = Image.open(page).convert("RGB")
        palette = rgb.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        palette.save(small, "PNG", optimize=True)
        if small.tell() <= MAX_BYTES:
            break
    return small.getvalue()


def main(folder: Path = FOLDER) -> None:
    """Draw all pictures into a folder, and remove what is no longer drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {folder / f"{name}.png": picture(record) for name, record in records()}
    for path in set(folder.glob("*.png")) - set(drawn):
        path.unlink()
    for path, data in drawn.items():
        path.write_bytes(data)
        sys.stdout.write(f"{len(data):>7} {path.name}\n")
    sys.stdout.write(f"{sum(map(len, drawn.values())):>7} bytes in all\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
