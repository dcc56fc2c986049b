"""The processor that kernels are generated for, as plain data: what the generators may use and LLVM must know.

Some can be generated for by name, on any machine. Everything about one of these stands here, the caches included, so
that code for it is the same wherever it is compiled.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm

from tilewright.errors import CodegenError, UsageError
from tilewright.immutable import Immutable
from tilewright.limits import LEVELS

from ....runtime.native import host as machine_here
from ....runtime.native.extensions import needed, usable
from ....runtime.waiting import hold_while_forking

PORTABLE = "portable"
"""The one name that depends on where it is said: the least capable target of the architecture of this machine."""


_generating = threading.RLock()
hold_while_forking(_generating)


@contextmanager
def forks_wait() -> Iterator[None]:
    """Around each use of LLVM and numba: a process forked off meanwhile would find their own locks locked for ever.

    The thread inside may itself fork."""
    with _generating:
        yield


class NamedTarget(NamedTuple):
    """A level of processors.

    Attributes:
        name: that of the psABI, where that has one.
        triple: LLVM's name of architecture and system.
        tune: LLVM's name of the processor that code is scheduled for.
        features: LLVM names of the extensions that code may use.
        cache_kilobytes: capacity of the first and second level data caches, for blocking.
    """

    name: str
    triple: str
    tune: str
    features: frozenset[str] = frozenset()
    cache_kilobytes: tuple[int, int] = (32, 512)
    others: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        """As the operating system names it."""
        return self.triple.partition("-")[0]


_X86_64, _AARCH64, _RISCV64 = (f"{name}-unknown-linux-gnu" for name in ("x86_64", "aarch64", "riscv64"))
# Of what a level of the psABI adds, what the generators or LLVM use.
_V2 = frozenset({"popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"})
_V3 = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
_VNNI = _V4 | {"avx512vnni"}
_BF16 = _VNNI | {"avx512bf16", "avx512vbmi"}
_AMX = _BF16 | {"amx-bf16", "amx-int8", "amx-tile", "avxvnni"}

NAMED_TARGETS = (
    NamedTarget(PORTABLE, _X86_64, "generic"),
    NamedTarget("x86-64-v2", _X86_64, "x86-64-v2", _V2, others=("v2",)),
    NamedTarget("x86-64-v3", _X86_64, "x86-64-v3", _V3, others=("v3", "avx2")),
    NamedTarget("avx-vnni", _X86_64, "alderlake", _V3 | {"avxvnni"}, (32, 1024)),
    NamedTarget("x86-64-v4", _X86_64, "x86-64-v4", _V4, (32, 1024), ("v4",)),
    NamedTarget("avx512-vnni", _X86_64, "icelake-server", _VNNI, (32, 1024)),
    NamedTarget("avx512-bf16", _X86_64, "znver4", _BF16, (32, 1024)),
    NamedTarget("amx", _X86_64, "sapphirerapids", _AMX, (48, 2048)),
    NamedTarget("aarch64", _AARCH64, "cortex-a72", others=(PORTABLE,)),
    NamedTarget("aarch64-dotprod", _AARCH64, "neoverse-n1", frozenset({"dotprod"}), (64, 512)),
    NamedTarget("aarch64-i8mm", _AARCH64, "neoverse-n2", frozenset({"dotprod", "i8mm"}), (64, 1024)),
    NamedTarget("riscv64", _RISCV64, "generic-rv64", others=(PORTABLE,)),
)
"""All of them, those of an architecture from the least to the most capable."""


class TargetDescription(Immutable):
    """A processor as the kernel generators see it.

    Attributes:
        triple: LLVM's name of architecture and system.
        cpu: LLVM's name of the processor that code is scheduled for; it allows the code no extension.
        features: LLVM names of the instruction-set extensions that the code may use beside those that all processors of
            the architecture have, sorted, without signs.
        vector_bits: width of the vector registers that kernels are built for.
        has_fma: multiply-add with one rounding is an instruction.
        cache_bytes: capacity of the first and second level data caches, for blocking.
        level: its name among `NAMED_TARGETS`, if it is one of these.
    """

    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    registers: int
    has_fma: bool
    cache_bytes: tuple[int, int] = (32 * 1024, 512 * 1024)
    level: str = ""

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.level or self.cpu

    @property
    def lanes(self) -> int:
        """Elements of four bytes in a vector register."""
        return self.vector_bits // 32

    @staticmethod
    @cache
    @forks_wait()
    def host() -> TargetDescription:
        """The processor of this machine."""
        _initialize()
        triple, cpu, flags = llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features()
        features = allowed(machine_here.architecture(), machine_here.usable_here(), flags)
        # Where the model number is masked, LLVM takes a processor for an older one.
        cpu = "sapphirerapids" if "amx-tile" in features else cpu
        return TargetDescription.of(triple, cpu, features, (_cache(1, 32), _cache(2, 512)))

    @staticmethod
    def named(name: str) -> TargetDescription:
        """The target ``host``, or one of `NAMED_TARGETS`, which this machine need not be able to run.
        Raises UsageError: there is no such target."""
        if name == "host":
            return TargetDescription.host()
        here = machine_here.architecture()
        for each in NAMED_TARGETS:
            if name in (each.name, *each.others) and (name != PORTABLE or each.architecture == here):
                first, second = each.cache_kilobytes
                found = TargetDescription.of(each.triple, each.tune, each.features, (first * 1024, second * 1024))
                return replace(found, level=each.name)
        names = (short for each in NAMED_TARGETS for short in (each.name, *each.others))
        raise UsageError("no such target", expected=", ".join(dict.fromkeys(["host", *names])), found=name)

    @staticmethod
    def several(given: TargetDescription | str | Iterable[TargetDescription | str]) -> tuple[TargetDescription, ...]:
        """What a target, names of some with commas between them, or a list of such describe: each once, the most
        capable first.
        Raises UsageError: there is no such target, or none or too many of them are given."""
        items = [given] if isinstance(given, (TargetDescription, str)) else list(given)
        names = [name for each in items for name in (each.split(",") if isinstance(each, str) else [each])]
        described = (TargetDescription.named(each) if isinstance(each, str) else each for each in names)
        found = sorted(dict.fromkeys(described), key=lambda each: len(each.features), reverse=True)
        if not 0 < len(found) <= LEVELS:
            raise UsageError("wrong number of targets", expected=f"1 to {LEVELS}", found=len(found))
        return tuple(found)

    @staticmethod
    def of(
        triple: str, cpu: str, features: Iterable[str] = (), cache_bytes: tuple[int, int] = (32 * 1024, 512 * 1024)
    ) -> TargetDescription:
        """A processor that has these extensions; vectors and registers follow from them."""
        have = set(features)
        if triple.startswith("x86_64"):
            wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= have
            bits = 512 if wide else 256 if "avx2" in have else 128
            registers, has_fma = 32 if wide else 16, "fma" in have
        else:
            # Every 64-bit Arm processor has 32 registers of 128 bits. What has none of them gets code for single lanes.
            arm = triple.startswith(("aarch64", "arm64"))
            bits, registers, has_fma = 128, 32 if arm else 16, True
        return TargetDescription(triple, cpu, tuple(sorted(have)), bits, registers, has_fma, cache_bytes)

    @property
    def architecture(self) -> str:
        """As the operating system names it."""
        return self.triple.partition("-")[0]

    def needed_by(self, text: str) -> TargetDescription:
        """With the extensions alone that code of this LLVM IR needs."""
        return replace(self, features=needed(self.architecture, self.features, text))

    @property
    def is_x86_64(self) -> bool:
        return self.architecture == "x86_64"

    @property
    def is_aarch64(self) -> bool:
        return self.architecture == "aarch64"

    @property
    def converts_half(self) -> bool:
        """Whether conversions between half and single precision are instructions."""
        return self.is_aarch64 or "f16c" in self.features


@cache
@forks_wait()
def machine(target: TargetDescription, *hints: str) -> llvm.TargetMachine:
    """LLVM's code generator for a target: position independent, small code model.
    ``hints``: LLVM names of what is fast, beside what instructions there are.
    Raises CodegenError: the installed LLVM does not know the target."""
    _initialize()
    # Names of processors allow all that these have. So that of the oldest stands here, and the actual one in an
    # attribute of functions that chooses what is fast only ("tune-cpu", see FunctionBuilder).
    oldest, *of_all = _OLDEST.get(target.architecture, ("generic",))
    features = ",".join(f"+{name}" for name in (*of_all, *target.features, *hints))
    try:
        return llvm.Target.from_triple(target.triple).create_target_machine(
            cpu=oldest, features=features, opt=2, reloc="pic", codemodel="small"
        )
    except RuntimeError as error:
        raise CodegenError(f"LLVM has no such target: {error}", found=target.triple) from error


_OLDEST = {"x86_64": ("x86-64",), "riscv64": ("generic-rv64", "m", "a", "f", "d", "c")}
"""By architecture LLVM's name of the oldest processor that systems run on, and the extensions that it has besides."""


@cache
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()


def allowed(architecture: str, here: Set[str], of_llvm: Mapping[str, bool]) -> frozenset[str]:
    """The extensions that code for a machine may use: those of our table that it has, where LLVM agrees.
    ``here``: what the operating system says that it has, by LLVM's names; the runtime asks nothing else.
    ``of_llvm``: what LLVM says of it. It lists all that it knows on x86-64, elsewhere only a part."""
    return usable(architecture, {name for name in here if of_llvm.get(name, architecture != "x86_64")})


def _cache(level: int, default_kilobytes: int) -> int:
    """Capacity of a data cache of the first core in bytes, as Linux tells it."""
    folder = "/sys/devices/system/cpu/cpu0/cache/index"
    for index in range(8):
        try:
            found, kind, size = (
                Path(f"{folder}{index}/{name}").read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            break
        if found == str(level) and kind in ("Data", "Unified") and size.endswith("K"):
            return int(size[:-1]) * 1024
    return default_kilobytes * 1024
