"""Processors as Linux and LLVM describe them: ``/proc/cpuinfo``, LLVM's names, and what code for them is to use.

Flags stand as the kernel prints them, in generations: each processor has those of an older one, and more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_HASWELL = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx "
    "pdpe1gb rdtscp lm constant_tsc arch_perfmon rep_good nopl xtopology nonstop_tsc cpuid aperfmperf pni pclmulqdq "
    "monitor vmx ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave avx f16c rdrand "
    "lahf_lm abm cpuid_fault epb fsgsbase bmi1 avx2 smep bmi2 erms invpcid xsaveopt dtherm ida arat pln pts"
)
_SKYLAKE_X = _HASWELL + (
    " 3dnowprefetch hle rtm mpx avx512f avx512dq rdseed adx smap clflushopt clwb avx512cd avx512bw avx512vl xsavec "
    "xgetbv1 xsaves pku ospke"
)
_ICE_LAKE = _SKYLAKE_X + (
    " avx512ifma sha_ni wbnoinvd avx512vbmi umip avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme "
    "avx512_vpopcntdq la57 rdpid fsrm pconfig"
)
_SAPPHIRE_RAPIDS = _ICE_LAKE + (
    " avx_vnni avx512_bf16 waitpkg bus_lock_detect cldemote movdiri movdir64b enqcmd serialize tsxldtrk uintr amx_bf16 "
    "avx512_fp16 amx_tile amx_int8"
)
_ALDER_LAKE = _HASWELL + (
    " 3dnowprefetch rdseed adx smap clflushopt clwb sha_ni xsavec xgetbv1 xsaves avx_vnni umip pku ospke waitpkg gfni "
    "vaes vpclmulqdq rdpid movdiri movdir64b fsrm serialize arch_lbr hybrid"
)
_ZEN_2 = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx "
    "mmxext fxsr_opt pdpe1gb rdtscp lm constant_tsc rep_good nopl nonstop_tsc cpuid extd_apicid pni pclmulqdq monitor "
    "ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand lahf_lm cmp_legacy svm cr8_legacy abm sse4a "
    "misalignsse 3dnowprefetch osvw topoext mwaitx fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt clwb sha_ni "
    "xsaveopt xsavec xgetbv1 xsaves clzero xsaveerptr rdpru wbnoinvd umip rdpid"
)
_ZEN_3 = _ZEN_2 + " pcid invpcid erms pku ospke vaes vpclmulqdq fsrm"
_ZEN_4 = _ZEN_3 + (
    " avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx512_bf16 avx512vbmi avx512_vbmi2 gfni avx512_vnni "
    "avx512_bitalg avx512_vpopcntdq"
)
_ZEN_5 = _ZEN_4 + " avx_vnni movdiri movdir64b avx512_vp2intersect bus_lock_detect"
_GRAVITON_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
_APPLE = _GRAVITON_2 + " jscvt fcma sha3 sha512 asimdfhm dit uscat ilrcpc flagm sb paca pacg dcpodp flagm2 frint"
_GRAVITON_3 = _APPLE + " sm3 sm4 sve svei8mm svebf16 i8mm bf16 dgh rng"
_GRAVITON_4 = _GRAVITON_3 + " sve2 sveaes svepmull svebitperm svesha3 svesm4 bti"

_LLVM_NAMES = {
    "3dnowprefetch": "prfchw",
    "abm": "lzcnt",
    "bmi1": "bmi",
    "lahf_lm": "sahf",
    "lm": "64bit",
    "pclmulqdq": "pclmul",
    "pni": "sse3",
    "rdrand": "rdrnd",
    "sha_ni": "sha",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "asimd": "neon",
    "fp": "fp-armv8",
    "atomics": "lse",
    "rng": "rand",
    "sveaes": "sve-aes",
    "svebitperm": "sve-bitperm",
    "svesha3": "sve-sha3",
    "svesm4": "sve-sm4",
}
_OF_LLVM_X86_64 = """
    64bit adx aes amx-avx512 amx-bf16 amx-complex amx-fp16 amx-fp8 amx-int8 amx-movrs amx-tf32 amx-tile avx avx10.1
    avx10.2 avx2 avx512bf16 avx512bitalg avx512bw avx512cd avx512dq avx512f avx512fp16 avx512ifma avx512vbmi avx512vbmi2
    avx512vl avx512vnni avx512vp2intersect avx512vpopcntdq avxifma avxneconvert avxvnni avxvnniint16 avxvnniint8 bmi
    bmi2 ccmp cf cldemote clflushopt clwb clzero cmov cmpccxadd crc32 cx16 cx8 egpr enqcmd f16c fma fma4 fsgsbase fxsr
    gfni hreset invpcid kl lwp lzcnt mmx movbe movdir64b movdiri movrs mwaitx ndd nf pclmul pconfig pku popcnt ppx
    prefetchi prfchw ptwrite push2pop2 raoint rdpid rdpru rdrnd rdseed rtm sahf serialize sgx sha sha512 shstk sm3 sm4
    sse sse2 sse3 sse4.1 sse4.2 sse4a ssse3 tbm tsxldtrk uintr usermsr vaes vpclmulqdq waitpkg wbnoinvd widekl xop xsave
    xsavec xsaveopt xsaves zu
"""
"""All that LLVM 22 tells of a processor: what it has and what it lacks."""
_OF_LLVM_AARCH64 = "aes crc fp-armv8 lse neon rand sha2 sha3 sm4 sve sve-aes sve-bitperm sve-sha3 sve2"
"""All that LLVM tells; the rest it concludes from the processor's name."""


class Recorded(NamedTuple):
    """A processor.

    Attributes:
        architecture: as the operating system names it.
        cores: for each kind of core the flags in ``/proc/cpuinfo``.
        beyond: what LLVM reports of it, by LLVM's names, that the kernel does not list.
        bits: how wide vectors of kernels are.
        uses: extensions that decide what kernels do, which code for it must use…
        lacks: …and must not.
    """

    architecture: str
    cores: tuple[str, ...]
    beyond: str
    bits: int
    uses: str
    lacks: str

    @property
    def information(self) -> str:
        """The text of ``/proc/cpuinfo``."""
        key = "flags\t" if self.architecture == "x86_64" else "Features"
        return "".join(f"processor\t: {i}\n{key}\t: {flags}\n\n" for i, flags in enumerate(self.cores))

    @property
    def of_llvm(self) -> Mapping[str, bool]:
        """What LLVM reports; it looks at one core."""
        names = set(self.beyond.split())
        known = _OF_LLVM_X86_64 if self.architecture == "x86_64" else _OF_LLVM_AARCH64
        for flag in self.cores[0].split():
            plain = _LLVM_NAMES.get(flag, flag)
            amx = plain.startswith("amx_")
            names.add(plain.replace("_", "-" if amx else ""))
        if "sse4.2" in names:
            names.add("crc32")
        return {name: name in names for name in {*known.split(), *self.beyond.split()}}


_VNNI = "avx512vnni avx512vbmi"
_X86_64 = {
    "Haswell": ((_HASWELL,), "", 256, "avx2 fma f16c bmi2 lzcnt movbe", "avx512f avxvnni"),
    "Skylake-X": ((_SKYLAKE_X,), "", 512, "avx512f avx512bw avx512dq avx512vl avx512cd", _VNNI),
    "Ice Lake": ((_ICE_LAKE,), "", 512, f"{_VNNI} gfni", "avx512fp16"),
    "Alder Lake": ((_ALDER_LAKE, _ALDER_LAKE), "", 256, "avxvnni gfni", "avx512f"),
    "Sapphire Rapids": ((_SAPPHIRE_RAPIDS,), "", 512, f"{_VNNI} avx512fp16 avxvnni amx-int8", "avx10.1"),
    "Granite Rapids": (
        (_SAPPHIRE_RAPIDS,),
        "avx10.1 amx-fp16 prefetchi",
        512,
        f"{_VNNI} avx512fp16",
        "avx10.1 amx-fp16",
    ),
    "Zen 2": ((_ZEN_2,), "", 256, "avx2 fma", "avx512f sse4a gfni"),
    "Zen 3": ((_ZEN_3,), "", 256, "avx2 fma", "avx512f vaes gfni"),
    "Zen 4": ((_ZEN_4,), "", 512, f"{_VNNI} avx512bf16", "avxvnni avx512fp16 amx-tile"),
    "Zen 5": ((_ZEN_5,), "", 512, f"{_VNNI} avxvnni", "avx512vp2intersect"),
}
_AARCH64 = {
    "Graviton 2": ((_GRAVITON_2,), "", 128, "dotprod fullfp16", "i8mm sve"),
    "Graviton 3": ((_GRAVITON_3,), "", 128, "dotprod i8mm sve", "sve2 bf16"),
    "Graviton 4": ((_GRAVITON_4,), "", 128, "dotprod i8mm sve2", "sve-aes"),
    "Apple": ((_APPLE, _APPLE), "", 128, "dotprod fullfp16", "i8mm sve"),
}

PROCESSORS = {
    **{name: Recorded("x86_64", *rest) for name, rest in _X86_64.items()},
    **{name: Recorded("aarch64", *rest) for name, rest in _AARCH64.items()},
}
"""Old and new ones, as they are when nothing is hidden."""
