"""The passes of each way to run a network, in order; read them from top to bottom. And how they are run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..ir.core import Module
from ..passes.attention.fuse_attention import FuseAttention
from ..passes.attention.inner_rounding import InnerRounding
from ..passes.attention.normalized_heads import NormalizedHeads
from ..passes.attention.quantize_attention import QuantizeAttention
from ..passes.attention.relative_positions import RelativePositions
from ..passes.attention.rotary_positions import RotaryPositions
from ..passes.attention.wide_sums import WideSums
from ..passes.base import Pass, Record
from ..passes.cpu.choose_layouts import ChooseLayouts
from ..passes.cpu.frame_convolutions import FrameConvolutions
from ..passes.cpu.isolate_outputs import IsolateOutputs
from ..passes.cpu.narrow_products import NarrowProducts
from ..passes.cpu.one_hot_products import OneHotProducts
from ..passes.cpu.plan_cpu_memory import PlanCpuMemory
from ..passes.cpu.real_results import RealResults
from ..passes.cpu.separate_pools import SeparatePools
from ..passes.cpu.transposed_convolutions import TransposedConvolutions
from ..passes.cpu.unsigned_activations import UnsignedActivations
from ..passes.cpu.volume_convolutions import VolumeConvolutions
from ..passes.cpu.weight_only_products import WeightOnlyProducts
from ..passes.cpu.widen_half import WidenHalf
from ..passes.device.cascade_rows import CascadeRows
from ..passes.device.fold_gathers import FoldGathers
from ..passes.device.legalize_for_device import LegalizeForDevice
from ..passes.device.lower_to_tiles import LowerToTiles
from ..passes.device.order_tiles import OrderTiles
from ..passes.device.outline_device import OutlineDevice
from ..passes.device.planning.plan_device_memory import PlanDeviceMemory
from ..passes.device.planning.plan_scratchpads import PlanScratchpads
from ..passes.device.share_batch import ShareBatch
from ..passes.device.split_cards import SplitCards
from ..passes.device.sum_means import SumMeans
from ..passes.device.tile_device import CHEAPEST, TileDevice
from ..passes.device.whole_blocks import WholeBlocks
from ..passes.instruments import Dump, Instrument, Print, instruments_from_environment
from ..passes.pipeline import Pipeline
from ..passes.placement.partition import Partition
from ..passes.placement.place_on_cpu import PlaceOnCpu
from ..passes.quantization.check_accumulator_overflow import CheckAccumulatorOverflow
from ..passes.quantization.depthwise_affine import DepthwiseAffine
from ..passes.quantization.import_quantization import ImportQuantization
from ..passes.quantization.integer_interface import IntegerInterface
from ..passes.quantization.parameters import Range
from ..passes.quantization.quantize import Quantize
from ..passes.quantization.quantize_normalization import QuantizeNormalization
from ..passes.quantization.wide_forms import WideForms
from ..passes.simplify.canonicalize import Canonicalize
from ..passes.simplify.eliminate_common_subexpressions import EliminateCommonSubexpressions
from ..passes.simplify.eliminate_dead_code import EliminateDeadCode
from ..passes.simplify.fold_constants import FoldConstants
from ..passes.simplify.fuse import Fuse
from ..passes.simplify.keep_values import KeepValues
from ..passes.simplify.remove_fake_quantization import RemoveFakeQuantization
from ..passes.simplify.unique_names import UniqueNames
from ..runtime.machines.machine import DEFAULT
from .options import CompileOptions
from .progress import ProgressReport


def simplify_pipeline(*, keep_factors: bool = False) -> Pipeline:
    """Any module with less in it: constants computed, patterns recognised, duplicates and dead code gone.
    ``keep_factors``: see :class:`tilewright.passes.simplify.fold_constants.FoldConstants`."""
    folded = FoldConstants(keep_factors=keep_factors)
    return Pipeline((folded, Canonicalize(), EliminateCommonSubexpressions(), EliminateDeadCode()), "simplify")


def cpu_pipeline(name: str = "software", *, exact: bool = True, narrow: int = 0) -> Pipeline:
    """From a simplified module to one whose every op that is not the device's runs on a CPU kernel.
    ``exact``: without algorithms that round more than sums of products do. What rounds to integers depends on that.
    ``narrow``: convolutions and products with weights multiply numbers in bfloat16 where that pays on processors that
    multiply so many times as many of these; by default none do."""
    # Phases of a volume see the same planes.
    shared = EliminateCommonSubexpressions()
    convolutions = (FrameConvolutions(), TransposedConvolutions(), VolumeConvolutions(), shared)
    weight_only = WeightOnlyProducts(4 if narrow else math.inf)
    products = (OneHotProducts(), FuseAttention(), Fuse(), weight_only, FoldConstants(max_expanded=1 << 16))
    forms = (WidenHalf(), WideForms(), *convolutions, *products, UnsignedActivations(), RealResults())
    forms = (*forms, NarrowProducts(narrow, exact)) if narrow else forms
    places = (PlaceOnCpu(), IsolateOutputs(), ChooseLayouts(exact=exact), SeparatePools(), PlanCpuMemory())
    return Pipeline((*forms, *places), name)


def float_pipeline(*, exact: bool = False, narrow: int = 0, keep: Sequence[str] = ()) -> Pipeline:
    """From an imported module to one that computes in floating point on the CPU.
    ``exact``, ``narrow``: as for `cpu_pipeline`.
    ``keep``: tensors of the model that are further outputs."""
    simplified = (*simplify_pipeline(keep_factors=True).passes, *kept_pipeline(keep).passes)
    passes = (*simplified, *cpu_pipeline(exact=exact, narrow=narrow).passes)
    return Pipeline((FoldConstants(keep_factors=True), RemoveFakeQuantization(), *passes), "float")


def simulation_pipeline(keep: Sequence[str] = ()) -> Pipeline:
    """From an imported module to one that computes on the CPU what it says: conversions to integers and back stay.
    ``keep``: tensors of the model that are further outputs."""
    return Pipeline((*simplify_pipeline().passes, *kept_pipeline(keep).passes, *cpu_pipeline().passes), "simulation")


def kept_pipeline(names: Sequence[str]) -> Pipeline:
    """From a simplified module to one with these tensors of the model as further outputs."""
    return Pipeline((KeepValues(tuple(names)),) if names else (), "keep")


def quantized_import_pipeline(machine: str | None = None) -> Pipeline:
    """From an imported module that brings its quantisation along to one with ops on quantised types.
    ``machine``: name of a sample machine or path of a machine file, for an accelerator."""
    imported = ImportQuantization(), *simplify_pipeline().passes
    imported = imported if machine is None else (InnerRounding(machine), *imported, WideSums(), ImportQuantization())
    return Pipeline((*imported, CheckAccumulatorOverflow()), "quantized_import")


def calibration_pipeline(keep: tuple[str, ...] = (), *, prelu: bool = True) -> Pipeline:
    """From an imported module in floating point to the one that is calibrated, then quantised, in single precision.
    ``keep``, ``prelu``: see :class:`tilewright.passes.quantization.depthwise_affine.DepthwiseAffine`."""
    turned = (NormalizedHeads(keep), RotaryPositions(keep), RelativePositions(keep)) if prelu else ()
    # What is divided by its length is a normalisation by then.
    channels = DepthwiseAffine(prelu, keep), *turned[:1]
    return Pipeline((WidenHalf(), *simplify_pipeline().passes, *turned, *channels), "calibration")


def post_training_pipeline(
    ranges: Mapping[str, Range], keep: Sequence[str] = (), *, wide: Sequence[str] = (), **forms: bool
) -> Pipeline:
    """From a module in floating point and the calibrated ranges of its values to one with ops on quantised types.
    ``keep``, ``wide``, ``forms``: see :class:`tilewright.passes.quantization.quantize.Quantize`."""
    bounds = tuple((name, low, high) for name, (low, high) in ranges.items())
    quantize = replace(Quantize(bounds, wide=tuple(wide), keep=tuple(keep)), **forms)
    return Pipeline((quantize, *simplify_pipeline().passes, CheckAccumulatorOverflow()), "post_training")


def attention_pipeline(machine: str = DEFAULT, keep: Sequence[str] = ()) -> Pipeline:
    """From a module with ops on quantised types to one whose attention and normalisations are on them, too, as the
    device has it. ``machine``, ``keep``: see :class:`tilewright.passes.attention.fuse_attention.FuseAttention`."""
    fuse = FuseAttention(least_rows=1, sums=True, machine=machine, keep=tuple(keep))
    integers = QuantizeAttention(machine), QuantizeNormalization(tuple(keep))
    return Pipeline((fuse, *integers, *simplify_pipeline().passes), "attention")


def interface_pipeline(interface: IntegerInterface) -> Pipeline:
    """From a module with ops on quantised types to one whose inputs and outputs are integers, too."""
    return Pipeline((interface, *simplify_pipeline().passes, CheckAccumulatorOverflow()), "interface")


def outline_pipeline(
    machine: str,
    affinity: tuple[tuple[str, str], ...] = (),
    order: str = "device,cpu",
    clusters: int = 1,
    cards: int = 1,
    images_per_cluster: int = 0,
    split_cards: int = 1,
) -> Pipeline:
    """From a module with ops on quantised types to one with device functions.

    Args:
        machine: name of a sample machine or path of a machine file.
        affinity: places that the user chose, as (name of a node or value, place).
        order: places by preference.
        clusters, cards, images_per_cluster: see :class:`tilewright.passes.device.share_batch.ShareBatch`.
        split_cards: over how many cards each device function is cut, see
            :class:`tilewright.passes.device.split_cards.SplitCards`.
    """
    return Pipeline(
        (
            VolumeConvolutions(),
            LegalizeForDevice(),
            WideForms(),
            EliminateCommonSubexpressions(),
            EliminateDeadCode(),
            Partition(machine=machine, affinity=affinity, order=order, clusters=clusters),
            SumMeans(machine=machine, clusters=clusters),
            UniqueNames(),
            OutlineDevice(),
            WholeBlocks(machine=machine, clusters=clusters),
            FoldGathers(machine=machine),
            ShareBatch(cards=cards, clusters=clusters, images_per_cluster=images_per_cluster),
            SplitCards(machine=machine, cards=split_cards, clusters=clusters),
        ),
        "outline",
    )


def schedule_pipeline(machine: str, stationary: str = CHEAPEST, clusters: int = 1) -> Pipeline:
    """From device functions to such with tiles and addresses in DRAM; arguments as of :class:`TileDevice`."""
    tile = TileDevice(machine=machine, stationary=stationary, clusters=clusters)
    return Pipeline((tile, PlanDeviceMemory()), "schedule")


def tile_pipeline(machine: str) -> Pipeline:
    """From a module whose device functions have tiles and addresses to one in which they are tile programs.
    ``machine``: name of a sample machine or path of a machine file."""
    return Pipeline(
        (LowerToTiles(), CascadeRows(), OrderTiles(machine=machine), PlanScratchpads(machine=machine)), "tiles"
    )


def observers(options: CompileOptions) -> list[Instrument]:
    """The instruments that the options and the environment ask for."""
    found = [*options.instruments, *instruments_from_environment()]
    if options.dump is not None:
        found.append(Dump(Path(options.dump)))
    if options.print_after:
        found.append(Print(options.print_after))
    return found


class _PassProgress(Instrument):
    """Reports each pass of a pipeline."""

    def __init__(self, report: ProgressReport, stage: str, total: int) -> None:
        self._report = report
        self._stage = stage
        self._done, self._total = 0, total

    def before(self, current: Pass, module: Module) -> None:
        self._report(self._stage, self._done, self._total)

    def after(self, current: Pass, module: Module, record: Record) -> None:
        self._done += 1
        self._report(self._stage, self._done, self._total)


def run_passes(pipeline: Pipeline, module: Module, options: CompileOptions) -> None:
    """Run a pipeline in place, watched by the instruments of ``options`` and with progress."""
    progress = _PassProgress(options.report, f"passes ({pipeline.name})", len(pipeline.passes))
    pipeline.run(module, instruments=(*options.instruments, progress))
