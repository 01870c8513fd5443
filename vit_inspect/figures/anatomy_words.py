"""What is written in the boxes of a network's diagram? Its parts in words, and their order."""

from __future__ import annotations

from typing import NamedTuple

from vit_inspect.layout import MEAN_PREFIX, MERGED, POOL
from vit_inspect.records.anatomy import (
    Anatomy,
    Attention,
    BlockStage,
    Chain,
    Convolution,
    ConvolutionStage,
    LayerScale,
    Linear,
    Mlp,
    Normalisation,
    Part,
    Pooling,
    Position,
    Skip,
    Tokens,
)

EMBEDDING, NO_BIAS = "Patch embedding", "no\u00a0bias"


class Step(NamedTuple):
    """What one box tells.

    label: of the arrow that enters it.
    joined: whether such an arrow is drawn.
    """

    word: str
    lines: tuple[str, ...] = ()
    parameters: int | None = None
    label: str = ""
    joined: bool = True
    accent: bool = False


def steps_of(result: Anatomy) -> list[Step]:
    """The boxes of the whole network."""
    rows, columns = result.layout.input_px
    parts = result.stem.parts
    channels = f"{parts[0].inputs} × " if parts and isinstance(parts[0], Convolution) else ""
    steps = [Step("Picture", (f"{channels}{rows} × {columns} px",))]
    steps += _stem(result)
    rows, columns = result.stages[0].grid
    last = max((at for at, each in enumerate(steps) if each.word == EMBEDDING), default=-2)
    if 0 < last < len(steps) - 1:
        steps[last + 1] = steps[last + 1]._replace(label=f"{rows} × {columns} patches")
    for index, stage in enumerate(result.stages):
        if stage.merging.parts:
            steps.append(_merging(stage.merging))
        staged = f"Stage {index}: block" if len(result.stages) > 1 else "Block"
        steps.append(
            Step(
                f"{staged} × {len(stage.blocks)}",
                parameters=sum(part.parameters for each in stage.blocks for part in each.parts),
                label=tokens_of(result, stage),
                accent=index == result.stage,
            )
        )
    steps += _end(result)
    shape = " × ".join(f"{side:,}" for side in result.output)
    return [*steps, Step("Output", (f"{shape} value{'s' * (result.output != (1,))}",))]


def block_words(result: Anatomy) -> list[str]:
    """What the drawn block is called."""
    stage = result.stages[result.stage]
    of = f" of stage {result.stage}" if len(result.stages) > 1 else ""
    if stage.unlike:
        return [f"Block 0{of}"]
    return [f"Each block{of}" if len(stage.blocks) > 1 else f"The block{of}"]


def tokens_of(result: Anatomy, stage: BlockStage) -> str:
    """The tokens that enter a stage, with their width."""
    count = result.layout.prefix_count + stage.grid[0] * stage.grid[1]
    widths = {
        part.inputs for part in stage.blocks[0].parts if isinstance(part, Attention) and part.inputs
    }
    width = f" × {widths.pop():,}" if len(widths) == 1 else ""
    return f"{count:,} tokens{width}"


def _stem(result: Anatomy) -> list[Step]:
    """The boxes before the blocks; normalisations and pooling stand with the part before them."""
    steps: list[Step] = []
    parts = result.stem.parts
    embedding = [at for at, part in enumerate(parts) if isinstance(part, Convolution | Linear)]
    several = sum(isinstance(part, Tokens) for part in parts) > 1
    stages = 0
    for at, part in enumerate(parts):
        step = step_of(part)
        joined = result.stem.ordered and at not in result.stem.beside
        if at == max(embedding, default=-1):
            step = step._replace(word=EMBEDDING, lines=(step.word, *step.lines))
        if isinstance(part, ConvolutionStage):
            stages += 1
            step = step._replace(word=f"{step.word} {stages}")
        if isinstance(part, Tokens) and not several:
            step = step._replace(lines=(_names(result.layout.prefix),))
        if isinstance(part, Normalisation | Pooling) and steps and joined:
            before = steps.pop()
            lines = (*before.lines, _in_a_line(step))
            values = (before.parameters or 0) + part.parameters
            steps.append(before._replace(lines=lines, parameters=values))
        else:
            steps.append(step._replace(joined=joined))
    return steps


def _merging(chain: Chain) -> Step:
    """The parts between two stages as one box."""
    lines = tuple(_in_a_line(step_of(part)) for part in chain.parts)
    return Step("Patch merging", lines, sum(part.parameters for part in chain.parts))


def _in_a_line(step: Step) -> str:
    return f"{step.word} {', '.join(step.lines)}"


def _end(result: Anatomy) -> list[Step]:
    """The boxes after the blocks."""
    chain = result.end
    at_read = result.read_after if _is_read(result) else -1
    # Each of these tokens has its own head; the mean is that of their outputs.
    at_read = len(chain.parts) if result.readout == MEAN_PREFIX else at_read
    steps: list[Step] = []
    places: list[int] = []
    for at, part in enumerate(chain.parts):
        if at == at_read:
            steps.append(_readout(result))
            places.append(at)
        step = step_of(part)._replace(joined=chain.ordered)
        if isinstance(part, Skip):
            first = next(number for number, place in enumerate(places) if place > part.start)
            step = _with_skip(steps[first:])
            del steps[first:], places[first:]
        elif at in chain.beside and chain.ordered:
            before, place = steps.pop(), places.pop()
            values = (before.parameters or 0) + part.parameters
            step = before._replace(lines=before.lines + step.lines, parameters=values)
            at = place
        elif isinstance(part, Attention) and result.readout == POOL:
            step = step._replace(word="Attention pool")
        elif isinstance(part, Linear) and at + len(chain.beside) == len(chain.parts) - 1:
            step = step._replace(word="Heads" if chain.beside else "Head")
        steps.append(step)
        places.append(at)
    return [*steps, _readout(result)] if at_read == len(chain.parts) else steps


def _with_skip(steps: list[Step]) -> Step:
    """Parts and the sum with what passed beside them, as one box."""
    *before, last = steps
    lines = (*map(_in_a_line, before), *last.lines)
    values = sum(step.parameters or 0 for step in steps)
    return last._replace(word=f"{last.word}, with a skip", lines=lines, parameters=values)


def _is_read(result: Anatomy) -> bool:
    """Whether the read-out is a step of its own, and no part of the network."""
    return len(result.output) == 1 and result.readout not in (POOL, MERGED)


def _readout(result: Anatomy) -> Step:
    token = result.readout in result.layout.prefix
    return Step("Read-out", (f"token {result.readout}" if token else result.readout,))


def step_of(part: Part) -> Step:
    """The box of a part."""
    word, lines = _part_words(part)
    return Step(word, tuple(lines), part.parameters)


def _part_words(part: Part) -> tuple[str, list[str]]:
    match part:
        case Normalisation():
            return part.kind, [_norm_words(part)]
        case Convolution():
            kind = "StdConv" if part.standardised else "Convolution"
            groups = f", {part.groups} groups" if part.groups > 1 else ""
            size = f"{_size(part.kernel_px)}, stride {_stride(part.stride_px)}{groups}"
            bias = "" if part.bias else f", {NO_BIAS}"
            return kind, [size, f"{part.inputs:,} → {part.outputs:,} channels{bias}"]
        case Pooling():
            size = f"{_size(part.kernel_px)}, stride {_stride(part.stride_px)}"
            return f"Pooling by {part.kind}", [size]
        case ConvolutionStage():
            kinds = ", ".join((*["StdConv"] * part.standardised, *part.norms))
            plural = "s" * (part.sums != 1)
            return "Convolution stage", [
                f"{part.convolutions} convolutions, {part.sums} skip{plural}",
                *([kinds] if kinds else []),
                f"{_size(part.grid)}, {part.channels:,} channels",
            ]
        case Linear():
            bias = "" if part.bias else f", {NO_BIAS}"
            return "Linear", [f"{part.inputs:,} → {part.outputs:,}{bias}"]
        case Tokens():
            return "Special tokens", [f"{part.parameters:,} trained values"]
        case Position():
            return "Position embedding", [f"+ table of {part.tokens:,} × {part.width:,}"]
        case Attention():
            return "Attention", _attention_words(part)
        case Mlp():
            inner = [f"{part.inner_norm.kind} inside"] if part.inner_norm else []
            facts = [part.activation or "activation not known", *[NO_BIAS] * (not part.bias)]
            widths = f"{part.inputs:,} → {part.hidden:,} → {part.outputs:,}"
            return "Gated MLP" if part.gated else "MLP", [widths, ", ".join(facts), *inner]
        case LayerScale():
            return "Layer scale", [f"{part.width:,} factors"]
        case Skip():
            return "Skip", []


def _norm_words(norm: Normalisation) -> str:
    facts = [f"{norm.width:,}"] if norm.width else []
    facts += [f"{norm.groups} groups"] if norm.groups else []
    facts += [f"ε {norm.epsilon:.2g}".replace("e-0", "e-")] if norm.epsilon is not None else []
    return ", ".join(facts)


def _attention_words(part: Attention) -> list[str]:
    heads = "heads not known" if part.heads is None else f"{part.heads} heads × {part.head_width}"
    heads += "" if part.bias else f", {NO_BIAS}"
    fewer = part.key_heads not in (None, part.heads)
    facts = {
        f"{part.key_heads} heads of keys and values": fewer,
        "rotary positions": part.rotary,
        "bias of relative positions": part.relative,
        f"in windows of {part.window} tokens": part.window is not None,
        "no output projection": part.inputs is not None and part.output is None,
    }
    return [
        heads,
        *([f"{part.query_norm.kind} of queries and keys"] if part.query_norm else []),
        *(fact for fact, true in facts.items() if true),
        *([f"{part.inner_norm.kind} inside"] if part.inner_norm else []),
    ]


def _size(pair: tuple[int, int]) -> str:
    return "\u00a0×\u00a0".join(map(str, pair))


def _stride(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else _size(pair)


def _names(prefix: tuple[str, ...]) -> str:
    """The special tokens; of several registers the first and the last."""
    registers = [name for name in prefix if name.startswith("reg")]
    others = [name for name in prefix if name not in registers]
    if len(registers) > 2:
        registers = [f"{registers[0]} to {registers[-1]}"]
    return ", ".join((*others, *registers))
