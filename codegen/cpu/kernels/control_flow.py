"""The kernel of what ends a run; those of branches and loops take more than an op to be made."""

from ....ir.core import Op
from ....ir.ops.control_flow import Refuse
from ..kernel import Kernel, kernel_name, lowers
from ..llvm.target import TargetDescription


@lowers(Refuse)
def lower_refusal(op: Op[Refuse], target: TargetDescription) -> Kernel:
    name = kernel_name("refusal", len(op.results))
    return Kernel(name, f"define i32 @{name}({'ptr, ' * (len(op.results) + 1)}i64, i64) {{ ret i32 1 }}")
