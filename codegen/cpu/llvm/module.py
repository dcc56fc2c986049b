"""LLVM modules: their text, and modules made of it with nothing visible but one function."""

import re
from collections.abc import Collection, Sequence

import llvmlite.binding as llvm

from tilewright.errors import CodegenError

from .builder import FunctionBuilder
from .target import TargetDescription, forks_wait, machine


def module_text(functions: Sequence[FunctionBuilder]) -> str:
    """The text of a module with these functions and what they declare."""
    declarations = {symbol: text for function in functions for symbol, text in function.declarations.items()}
    return "\n".join([*declarations.values(), *(function.text() for function in functions)])


def spelled_out(text: str) -> str:
    """A text in which ``ptr [%base + 8]`` may stand for an address, and ``i1 [slt i64 %a, %b]`` for a comparison: for
    each of them LLVM wants an instruction."""
    lines: list[str] = []
    for line in text.splitlines():
        for short in re.findall(r"\b(?:ptr|i1) \[(\S.*?)\]", line):
            base, plus, offset = short.partition(" + ")
            line = line.replace(f"[{short}]", f"%s{len(lines)}")
            instruction = f"getelementptr i8, ptr {base}, i64 {offset}" if plus else f"icmp {short}"
            lines.append(f"  %s{len(lines)} = {instruction}")
        lines.append(line)
    return "\n".join([*lines, ""])


@forks_wait()
def parse(text: str, name: str, target: TargetDescription, *others: str) -> llvm.ModuleRef:
    """The module of a text for a target, in which nothing is visible from outside but ``name`` and ``others``.
    Raises CodegenError: LLVM rejects the text (our own bug)."""
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CodegenError(f"LLVM rejects the text of {name}: {error}") from error
    module.triple = target.triple
    module.data_layout = str(machine(target).target_data)
    hide(module, name, *others)
    return module


def hide(module: llvm.ModuleRef, *names: str) -> None:
    """Leave nothing of a module visible but what has these names."""
    for symbol in (*module.functions, *module.global_variables):
        if not symbol.is_declaration and symbol.name not in names:
            symbol.linkage = "internal"


@forks_wait()
def optimized(text: str, name: str, target: TargetDescription, apart: Collection[str] = ()) -> str:
    """A text after LLVM's passes, vectorisers included, with all its functions but those ``apart`` in ``name``."""
    module = parse(text, name, target)
    for function in module.functions:
        if not function.is_declaration and function.name not in (name, *apart):
            function.add_function_attribute("alwaysinline")
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    options.loop_unrolling = False
    # With AVX-512 it would gather all that is read apart, which takes longer than element by element.
    is_known = target.is_x86_64 and llvm.llvm_version_info[0] >= 20
    builder = llvm.create_pass_builder(machine(target, *["prefer-no-gather"] * is_known), options)
    builder.getModulePassManager().run(module, builder)
    return str(module)
