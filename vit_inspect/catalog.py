"""Which figures are there? One explicit tuple: menus, exports and contract tests derive from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vit_inspect.analyses.attention_distance import DistanceReduction, attention_distance
from vit_inspect.analyses.attention_maps import attention_maps, readout_reduction
from vit_inspect.analyses.attention_relevance import attention_relevance
from vit_inspect.analyses.attention_rollout import RolloutReduction, attention_rollout
from vit_inspect.analyses.embedding_filters import embedding_filters
from vit_inspect.analyses.faithfulness import faithfulness
from vit_inspect.analyses.feature_pca import feature_pca
from vit_inspect.analyses.head_importance import head_importance
from vit_inspect.analyses.head_statistics import HeadReduction, head_statistics
from vit_inspect.analyses.layer_cka import layer_cka
from vit_inspect.analyses.logit_lens import logit_lens
from vit_inspect.analyses.position_bias import position_bias
from vit_inspect.analyses.position_similarity import position_similarity
from vit_inspect.analyses.rotary_similarity import rotary_similarity
from vit_inspect.analyses.token_norms import TokenNormsReduction, token_norms
from vit_inspect.analyses.token_similarity import token_similarity
from vit_inspect.attention import sweep
from vit_inspect.errors import InspectError
from vit_inspect.figures import attention_distance as distance_figure
from vit_inspect.figures import attention_maps as maps_figure
from vit_inspect.figures import attention_relevance as relevance_figure
from vit_inspect.figures import attention_rollout as rollout_figure
from vit_inspect.figures import embedding_filters as filters_figure
from vit_inspect.figures import faithfulness as faithfulness_figure
from vit_inspect.figures import feature_pca as pca_figure
from vit_inspect.figures import head_importance as importance_figure
from vit_inspect.figures import head_statistics as heads_figure
from vit_inspect.figures import layer_cka as cka_figure
from vit_inspect.figures import logit_lens as lens_figure
from vit_inspect.figures import position_bias as bias_figure
from vit_inspect.figures import position_similarity as position_figure
from vit_inspect.figures import rotary_similarity as rotary_figure
from vit_inspect.figures import token_norms as norms_figure
from vit_inspect.figures import token_similarity as token_figure
from vit_inspect.recorder import Capture
from vit_inspect.results import Result


@dataclass(frozen=True)
class FigureSpec:
    """One figure: what it answers, how it is computed and how it is shown.

    slug: its name in files and addresses.
    scope: what one figure is made of: the "model" alone, all "images" together, or each "image".
    analyse: from a model (scope "model") or a capture to the record.
    draw, plot: from the record to a matplotlib or a plotly figure.
    limits: the ends of a record's scale, which `plot` takes as `limits` too, so that two figures
        can share one; None where every record has the same.
    compared: the quantity whose difference says how two records differ; None where there is none.
    reduction: for those that need every attention row, so that one sweep serves them all; None
        where this capture needs no sweep.
    shown: the positions along an axis that a drawing picks, by axis; the table holds the same.
    group: whether it is one of the "paper" or "evidence" of what the attention does.
    thorough: whether it runs the model many times, so that a bundle has it only when asked.
    page: slug of the figure on whose page a dashboard shows this one too, as most models have only
        one of them; None for a page of its own.
    plots: further plotly figures of a record, which stand below the first in files and reports.
    """

    slug: str
    title: str
    question: str
    reading: str
    caveat: str
    formula: str
    source: str
    scope: Literal["model", "images", "image"]
    analyse: Callable[..., Result]
    draw: Callable[..., Any]
    plot: Callable[..., Any]
    limits: Callable[[Any], tuple[float, float]] | None = None
    compared: str | None = None
    reduction: Callable[[Capture], Any] | None = None
    shown: Callable[[Any], dict[str, list[int]]] = lambda result: {}
    group: Literal["paper", "evidence"] = "paper"
    thorough: bool = False
    page: str | None = None
    plots: Callable[[Any], Sequence[Any]] = lambda result: ()


PAPER = "Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv 2010.11929"

FIGURES = (
    FigureSpec(
        slug="embedding_filters",
        title="Embedding filters",
        question="What patterns does the model look for in a patch?",
        reading=(
            "Each tile is one principal component of the filters that the model applies to the "
            "picture first, the strongest first. Smooth waves in a few directions and colours, "
            "like the basis of a compression, mean that training found a compact code for "
            "patches. The curve says how much of all filters the tiles hold."
        ),
        caveat=(
            "Each tile is stretched to its own range, so tiles cannot be compared in strength. "
            "Signs are arbitrary: a tile and its negative are the same component."
        ),
        formula="centred PCA of the matrix (filters × patch pixels and channels)",
        source=f"{PAPER}, Figure 7 left",
        scope="model",
        analyse=embedding_filters,
        draw=filters_figure.draw,
        plot=filters_figure.plot,
    ),
    FigureSpec(
        slug="position_similarity",
        title="Position embeddings",
        question="Does the model know which patches are neighbours?",
        reading=(
            "The tile in row i and column j compares the position embedding of patch (i, j) with "
            "those of all patches. A bright spot at the tile's own place says that near patches "
            "have similar embeddings; bright rows and columns say that these are told apart."
        ),
        caveat=(
            "This is the table that the model holds, on its own grid; for other input sizes it is "
            "resampled. It says what the input tells of place, not whether later layers use it."
        ),
        formula="S[i, j] = pᵢ·pⱼ / (|pᵢ| |pⱼ|), patches only, no mean subtracted",
        source=f"{PAPER}, Figures 7 centre and 10",
        scope="model",
        analyse=position_similarity,
        draw=position_figure.draw,
        plot=position_figure.plot,
        compared="similarity",
        shown=lambda result: dict(
            zip(("row", "column"), position_figure.shown(result), strict=True)
        ),
    ),
    FigureSpec(
        slug="position_bias",
        title="Relative position bias",
        question="Which offsets does each head favour, whatever the picture?",
        reading=(
            "Each tile is one head of one layer, with the query in its middle. Red keys get a "
            "higher score wherever the query lies, blue ones a lower score: a red spot in the "
            "middle is a local head, one beside it looks that way. All tiles share one scale."
        ),
        caveat=(
            "The score of content is added to it, and may outweigh it. Only differences within a "
            "tile move attention between patches. The biases of prefix tokens are left out, and "
            "what spans a window says nothing of keys outside it."
        ),
        formula="A[q, :] = softmax(q·K / √d + B[offset of key from query])",
        source=(
            "Shaw et al., arXiv 1803.02155; Bao et al. (BEiT), arXiv 2106.08254; "
            "Liu et al. (Swin), arXiv 2103.14030"
        ),
        scope="model",
        analyse=position_bias,
        draw=bias_figure.draw,
        plot=bias_figure.plot,
        limits=bias_figure.limits_of,
        compared="bias",
        page="position_similarity",
    ),
    FigureSpec(
        slug="rotary_similarity",
        title="Rotary positions",
        question="What does the turning of queries and keys tell of their offset?",
        reading=(
            "Queries and keys are turned by where they lie. A tile shows how similar a key stays "
            "to an equal query in the middle, by its offset: for each pair of dimensions, or, "
            "where heads are turned differently, for each head. Short waves tell neighbours "
            "apart, long ones hardly know of place."
        ),
        caveat=(
            "Queries and keys are taken to be equal, with the same length in every pair. Real "
            "ones weigh the pairs by content, so a head may use a single wave, or avoid them all."
        ),
        formula="S[offset] = mean over pairs of cos(ω·offset), ω = (per row, per column)",
        source="Su et al. (RoFormer), arXiv 2104.09864; Heo et al. (RoPE-ViT), arXiv 2403.13298",
        scope="model",
        analyse=rotary_similarity,
        draw=rotary_figure.draw,
        plot=rotary_figure.plot,
        compared="similarity",
        page="position_similarity",
    ),
    FigureSpec(
        slug="attention_distance",
        title="Attention distance",
        question="How far does each head look?",
        reading=(
            "One dot per head and layer: the mean distance, in pixels, between a patch and what "
            "it attends to. Low dots are local heads, like small convolutions; dots near the "
            "dashed line attend everywhere alike, or far and near in balance."
        ),
        caveat=(
            "Attention to prefix tokens (class token, registers) counts as distance 0 in the "
            "paper's definition, so a head can look local because it rests on them: see the "
            "prefix mass. One image says little; the paper averages 128."
        ),
        formula="d = mean over q of Σₖ A[q, k] · |centre of q − centre of k|, q and k patches",
        source=f"{PAPER}, Figures 7 right and 11, Appendix D.7",
        scope="images",
        analyse=attention_distance,
        draw=distance_figure.draw,
        plot=distance_figure.plot,
        limits=distance_figure.limits_of,
        compared="distance_px",
        reduction=DistanceReduction,
    ),
    FigureSpec(
        slug="attention_maps",
        title="Attention maps",
        question="Where does the read-out look, in every layer and head?",
        reading=(
            "Each small map is one head: bright patches get most of the attention of the token "
            "that the model reads at the end. Rows are layers, the first on top. All maps share "
            "one colour scale."
        ),
        caveat=(
            "Attention on prefix tokens lies outside the picture; its share is told with each "
            "map. Attention shows what is mixed into a token, not what the decision rests on."
        ),
        formula="A[layer, head, query, :] = softmax(q·K / √d)",
        source="Vaswani et al., arXiv 1706.03762; Caron et al. (DINO), arXiv 2104.14294",
        scope="image",
        analyse=attention_maps,
        reduction=readout_reduction,
        draw=maps_figure.draw,
        plot=maps_figure.plot,
        limits=maps_figure.limits_of,
        compared="weights",
    ),
    FigureSpec(
        slug="attention_rollout",
        title="Attention rollout",
        question="Which patches reach the read-out through all layers?",
        reading=(
            "Attention multiplied through the layers, half of each token passing straight on. "
            "Bright patches are those whose content can reach the read-out most."
        ),
        caveat=(
            "Rollout ignores values, MLPs and the class, and favours tokens that everything "
            "attends to: when a few patches hold most of the mass, they are often artefacts of "
            "the model, not objects."
        ),
        formula="R = Â[L−1] ⋯ Â[1] Â[0],  Â[l] = (mean over heads of A[l] + I) / 2",
        source=f"Abnar and Zuidema, arXiv 2005.00928; {PAPER}, Figures 6 and 14",
        scope="image",
        analyse=attention_rollout,
        draw=rollout_figure.draw,
        plot=rollout_figure.plot,
        limits=rollout_figure.limits_of,
        compared="relevance",
        reduction=RolloutReduction,
    ),
    FigureSpec(
        slug="attention_relevance",
        title="Relevance",
        question="Which patches speak for a class?",
        reading=(
            "Attention multiplied through the layers, as in rollout, but weighted by how much it "
            "raises the target: a class, or how similar the picture is to another one or to one of "
            "its patches. Bright patches are those whose content raises it most. Another class "
            "gives another map. Two cheaper ways are shown too: where all agree, trust it more."
        ),
        caveat=(
            "A gradient tells what a small change would do, not what is left when a patch is gone: "
            "see faithfulness for that. What lowers the target is cut off in every layer, and what "
            "the MLPs do is left out. The size of a value says nothing by itself, and maps of "
            "different targets have no common unit."
        ),
        formula="R ← R + E_h[(∂y/∂A ⊙ A)⁺] R, first layer first; the read-out's row",
        source=(
            "Chefer et al., arXiv 2103.15679; Selvaraju et al. (Grad-CAM), arXiv 1610.02391; "
            "Shrikumar et al. (input × gradient), arXiv 1605.01713"
        ),
        scope="image",
        analyse=attention_relevance,
        draw=relevance_figure.draw,
        plot=relevance_figure.plot,
        plots=relevance_figure.plots,
        limits=relevance_figure.limits_of,
        compared="relevance",
        group="evidence",
    ),
    FigureSpec(
        slug="feature_pca",
        title="What tokens hold",
        question="What does the model tell apart in the picture?",
        reading=(
            "The tokens of all patches are laid along the three directions in which they vary "
            "most, shown as red, green and blue. Patches of like colour hold like tokens: an "
            "object stands out from its surroundings, and its parts from each other."
        ),
        caveat=(
            "Colours mean nothing across pictures unless they share a common basis, and nothing "
            "across layers and models. Each is stretched to its own range, however little of the "
            "variance it holds, and its sign is arbitrary. A few outlying tokens can take one of "
            "the three for themselves."
        ),
        formula="(t − mean of t) · [v₁ v₂ v₃], v = eigenvectors of the patch tokens' covariance",
        source="Oquab et al. (DINOv2), arXiv 2304.07193, Figure 1",
        scope="image",
        analyse=feature_pca,
        draw=pca_figure.draw,
        plot=pca_figure.plot,
        group="evidence",
    ),
    FigureSpec(
        slug="token_similarity",
        title="Similar patches",
        question="Which patches does the model take for the same as this one?",
        reading=(
            "The outlined patch is compared with all patches. Bright ones hold nearly the same "
            "token: other parts of one thing, or the same part of another one, wherever they lie."
        ),
        caveat=(
            "The cosine hides how large tokens are: artefacts many times as large as others look "
            "like any patch. Tokens share a common part, so no value alone says 'alike': compare "
            "values of one layer."
        ),
        formula="S[k] = tₚ·tₖ / (|tₚ| |tₖ|), patches only, no mean subtracted",
        source="Caron et al. (DINO), arXiv 2104.14294; Amir et al., arXiv 2112.05814",
        scope="image",
        analyse=token_similarity,
        draw=token_figure.draw,
        plot=token_figure.plot,
        compared="similarity",
        group="evidence",
        page="feature_pca",
    ),
    FigureSpec(
        slug="logit_lens",
        title="Class in every layer",
        question="From which layer on, and in which patches, does the model see its class?",
        reading=(
            "The model's own norm and head are applied to every layer, as if it were the last: "
            "bars to all its tokens, as the model reads them, maps to each patch alone. The last "
            "bar is the model's output."
        ),
        caveat=(
            "The head was trained for the last layer only: a class that it does not find earlier "
            "may be there in another form. A patch alone is an input that the head never saw, and "
            "what is found in a patch need not be used."
        ),
        formula="softmax(head(norm(tokens of layer l))), the norm's statistics of these tokens",
        source="nostalgebraist, interpreting GPT: the logit lens, 2020; Vilas et al., "
        "arXiv 2310.18969",
        scope="image",
        analyse=logit_lens,
        draw=lens_figure.draw,
        plot=lens_figure.plot,
        limits=lens_figure.limits_of,
        group="evidence",
        page="feature_pca",
    ),
    FigureSpec(
        slug="layer_cka",
        title="Layer similarity",
        question="Which layers arrange the patches of a picture alike?",
        reading=(
            "Each cell compares two layers by which patches have like tokens, whatever directions "
            "these lie in: 1 is the same arrangement up to rotation and scale, about 0 an "
            "unrelated one. A bright block is a run of layers that change little."
        ),
        caveat=(
            "The few directions and outlying tokens of largest variance decide: layers that "
            "differ in all others still look alike. It says nothing of what is arranged, and one "
            "image is a rough estimate."
        ),
        formula="CKA = mean HSIC₁(K, L) / √(mean HSIC₁(K, K) · mean HSIC₁(L, L)), means over "
        "images, K = tokens·tokensᵀ",
        source="Nguyen et al., arXiv 2010.15327; Song et al., JMLR 13 (2012); Raghu et al., "
        "arXiv 2108.08810",
        scope="images",
        analyse=layer_cka,
        draw=cka_figure.draw,
        plot=cka_figure.plot,
        group="evidence",
    ),
    FigureSpec(
        slug="token_norms",
        title="Token norms",
        question="Which tokens are artefacts, and what do they draw to themselves?",
        reading=(
            "Bright patches have long tokens. Some models use a few patches where little is to be "
            "seen as a place to store what they know of the whole picture: their norms leave all "
            "others behind from a middle layer on, and attention goes to them. They are outlined, "
            "and rollout is shown with them and, as a variant, without."
        ),
        caveat=(
            "A large norm is no proof that a token holds nothing of its patch, and a patch that "
            "draws much attention may have an ordinary norm. The threshold is fitted to each "
            "picture, at one layer; where no small group is far above all others, nothing is "
            "marked. Small models and those with registers have few artefacts or none. Norms of "
            "two models have no common unit."
        ),
        formula=(
            "log |token| ~ (1 − w) N(μ₁, σ²) + w N(μ₂, σ²); artefacts above the crossing, if "
            "e^(μ₂ − μ₁) ≥ 2, μ₂ − μ₁ ≥ 5σ, at most 10% of the patches, behind a gap"
        ),
        source=(
            "Darcet et al., arXiv 2309.16588; Ashman, Bird and Zepf, arXiv astro-ph/9408030; "
            "Abnar and Zuidema, arXiv 2005.00928"
        ),
        scope="image",
        analyse=token_norms,
        draw=norms_figure.draw,
        plot=norms_figure.plot,
        plots=norms_figure.plots,
        limits=norms_figure.limits_of,
        reduction=TokenNormsReduction,
        group="evidence",
    ),
    FigureSpec(
        slug="head_importance",
        title="Causal tests",
        question="Which heads does the answer rest on?",
        reading=(
            "Each tile is what happens when one head is switched off and the model runs again: "
            "by how much the logarithm of the class's probability falls (0.69 is a probability "
            "halved), or, for a model without classes, how far its output turns away. Where both "
            "signs occur, red heads speak for the class and blue ones against it. The dashboard "
            "also switches off any heads, layers and tokens together, and shows the answer before "
            "and after."
        ),
        caveat=(
            "Heads back each other up: one that is not missed may still do what another would do "
            "without it, and switching off several at once is not the sum. The mean over the "
            "tokens of one image is not the mean over a data set, and keeps what a head tells "
            "every token alike. All of this is of one picture."
        ),
        formula="ln p(class) − ln p(class | head ← mean over tokens), or 1 − cos(y, y without)",
        source=(
            "Michel et al., Are Sixteen Heads Really Better than One?, arXiv 1905.10650; "
            "mean ablation: Wang et al., arXiv 2211.00593"
        ),
        scope="image",
        analyse=head_importance,
        draw=importance_figure.draw,
        plot=importance_figure.plot,
        group="evidence",
        thorough=True,
    ),
    FigureSpec(
        slug="faithfulness",
        title="Faithfulness",
        question="Can a map be trusted?",
        reading=(
            "Patches are taken out of the picture, those first that a map puts first, and the "
            "model is run again each time. If the map shows what the output rests on, the score "
            "falls early; put back into a blurred picture in the same order, it rises early. A "
            "map that does not beat random orders and the distance to the centre has shown "
            "nothing of the model on this picture."
        ),
        caveat=(
            "One picture says little: take many. A picture with patches of mean colour or blur is "
            "unlike anything the model was trained on, so a score may fall, or rise, for that "
            "alone. Patches are taken one by one in an order: what only several together show "
            "counts for the last of them. Where there are no classes, the score is the cosine "
            "similarity of outputs, which can be high for empty pictures."
        ),
        formula=(
            "area under p(class | picture without the first k patches), or with them alone, over "
            "k / patches"
        ),
        source=(
            "Petsiuk et al. (RISE), arXiv 1806.07421; for maps with randomised weights, in the "
            "browser: Adebayo et al., arXiv 1810.03292"
        ),
        scope="image",
        analyse=faithfulness,
        draw=faithfulness_figure.draw,
        plot=faithfulness_figure.plot,
        group="evidence",
        thorough=True,
    ),
    FigureSpec(
        slug="head_statistics",
        title="Head statistics",
        question="What does each head do?",
        reading=(
            "Each cell is a head. Low entropy, few effective tokens: it attends to little at a "
            "time. NMI near 0: all its queries attend to the same keys; high: each to its own. "
            "Much mass on itself or on 3 × 3 patches: it is local, like a small convolution. Much "
            "on prefix tokens: it rests on them."
        ),
        caveat=(
            "A mean hides heads that do one thing for some queries and another for others. "
            "Entropy and effective tokens grow with the number of tokens: compare them at one "
            "input size. A head that rests on a register or on one patch as a sink looks sharp, "
            "and may have found nothing in the picture."
        ),
        formula=(
            "H = mean over q of −Σₖ A[q, k] ln A[q, k],  NMI = (H(K) − H) / √(H(K) ln N);  "
            "q one of N patches, k any token, H(K) of the mean row"
        ),
        source=(
            "Park et al., What Do Self-Supervised Vision Transformers Learn?, arXiv 2305.00729; "
            f"{PAPER}, Figure 7 right"
        ),
        scope="images",
        analyse=head_statistics,
        draw=heads_figure.draw,
        plot=heads_figure.plot,
        limits=heads_figure.limits_of,
        compared="entropy",
        reduction=HeadReduction,
        group="evidence",
    ),
)


def analyse(capture: Capture, *, thorough: bool = False) -> dict[str, Result | InspectError]:
    """The records of all figures of a capture's images, or why there is none, by slug.

    One sweep over all attention rows serves those that need nothing else of the model. Figures of
    the model alone are not among them; those that run the model many times are only where asked
    for (`thorough`).
    """
    found: dict[str, Any] = {}
    sums: dict[str, Any] = {}
    for spec in FIGURES:
        if spec.scope == "model" or (spec.thorough and not thorough):
            continue
        try:
            if spec.reduction and (total := spec.reduction(capture)):
                sums[spec.slug] = total
            else:
                found[spec.slug] = spec.analyse(capture)
        except InspectError as refusal:
            found[spec.slug] = refusal
    sweep(capture.layers, *sums.values())
    return found | {slug: total.result() for slug, total in sums.items()}
