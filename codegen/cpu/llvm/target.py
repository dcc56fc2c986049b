"""The processor that kernels are generated for, as plain data: what the generators may use and LLVM must know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from tilewright.errors import CodegenError, UsageError

_X86_64_V3 = tuple(
    sorted(("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt", "sse4.1", "sse4.2"))
)
"""What the level x86-64-v3 of the psABI adds that the generators or LLVM use."""


@dataclass(frozen=True)
class TargetDescription:
    """A processor as the kernel generators see it.

    Attributes:
        triple: LLVM's name of architecture and system.
        cpu: LLVM's name of the processor, for its scheduling model.
        features: LLVM names of the instruction-set extensions that the code may use, sorted, without signs.
        disabled: those that ``cpu`` would imply but that must not be used.
        vector_bits: width of the vector registers that kernels are built for.
        registers: number of vector registers.
        has_fma: multiply-add with one rounding is an instruction.
        cache_bytes: capacity of the first and second level data caches, for blocking.
    """

    triple: str
    cpu: str
    features: tuple[str, ...]
    disabled: tuple[str, ...]
    vector_bits: int
    registers: int
    has_fma: bool
    cache_bytes: tuple[int, int] = (32 * 1024, 512 * 1024)

    @property
    def lanes(self) -> int:
        """Elements of four bytes in a vector register."""
        return self.vector_bits // 32

    @staticmethod
    @cache
    def host() -> TargetDescription:
        """The processor of this machine, as LLVM sees it."""
        _initialize()
        flags = llvm.get_host_cpu_features()
        enabled = tuple(sorted(name for name, on in flags.items() if on))
        disabled = tuple(sorted(name for name, on in flags.items() if not on))
        caches = _cache(1, 32), _cache(2, 512)
        return _describe(llvm.get_process_triple(), llvm.get_host_cpu_name(), enabled, disabled, caches)

    @staticmethod
    def named(name: str) -> TargetDescription:
        """The target ``host``, ``avx2`` or ``portable``.

        Raises:
            UsageError: there is no such target, or this machine could not run it.
        """
        host = TargetDescription.host()
        if name == "host":
            return host
        if name == "portable":
            return host.restricted("x86-64" if host.is_x86_64 else "generic", ())
        if name == "avx2" and host.is_x86_64 and {"avx2", "fma"} <= set(host.features):
            return host.restricted("x86-64-v3", _X86_64_V3)
        raise UsageError("no such target on this machine", expected="host, avx2 (on x86-64) or portable", found=name)

    @property
    def is_x86_64(self) -> bool:
        return self.triple.startswith("x86_64")

    def restricted(self, cpu: str, features: tuple[str, ...]) -> TargetDescription:
        """The same machine, using only what ``cpu`` and ``features`` name."""
        return _describe(self.triple, cpu, features, (), self.cache_bytes)


@cache
def machine(target: TargetDescription) -> llvm.TargetMachine:
    """LLVM's code generator for a target: position independent, small code model.

    Raises:
        CodegenError: the installed LLVM does not know the target.
    """
    _initialize()
    signs = [f"+{name}" for name in target.features] + [f"-{name}" for name in target.disabled]
    try:
        return llvm.Target.from_triple(target.triple).create_target_machine(
            cpu=target.cpu, features=",".join(signs), opt=2, reloc="pic", codemodel="small"
        )
    except RuntimeError as error:
        raise CodegenError(f"LLVM has no such target: {error}", found=target.triple) from error


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()


def _describe(
    triple: str, cpu: str, features: tuple[str, ...], disabled: tuple[str, ...], caches: tuple[int, int]
) -> TargetDescription:
    have = set(features)
    if triple.startswith("x86_64"):
        wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= have
        bits = 512 if wide else 256 if "avx2" in have else 128
        registers, has_fma = 32 if wide else 16, "fma" in have or wide
    else:
        # Every 64-bit Arm processor has 32 registers of 128 bits and a fused multiply-add.
        arm = triple.startswith(("aarch64", "arm64"))
        bits, registers, has_fma = 128, 32 if arm else 16, arm
    return TargetDescription(triple, cpu, features, disabled, bits, registers, has_fma, caches)


def _cache(level: int, default_kilobytes: int) -> int:
    """Capacity of a data cache of the first core in bytes, as Linux tells it."""
    folder = "/sys/devices/system/cpu/cpu0/cache/index"
    for index in range(8):
        try:
            with open(f"{folder}{index}/level") as file:
                found_level = int(file.read())
            with open(f"{folder}{index}/type") as file:
                kind = file.read().strip()
            with open(f"{folder}{index}/size") as file:
                size = file.read().strip()
        except (OSError, ValueError):
            break
        if found_level == level and kind in ("Data", "Unified") and size.endswith("K"):
            return int(size[:-1]) * 1024
    return default_kilobytes * 1024
