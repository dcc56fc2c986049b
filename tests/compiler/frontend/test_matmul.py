"""Import of MatMul, Gemm and Einsum."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

from tilewright.errors import ModelError
from tilewright.ir import interp


def arrays(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def op_names(model) -> list[str]:
    return [op.name for op in import_checked(model).main.ops]


@pytest.mark.parametrize(
    ("left", "right"),
    [((5,), (5,)), ((5,), (5, 3)), ((4, 5), (5,)), ((2, 4, 5), (5,)), ((5,), (2, 5, 3)), ((1, 5), (5, 1))],
)
def test_matmul_of_vectors(left: tuple[int, ...], right: tuple[int, ...], rng: np.random.Generator) -> None:
    x = arrays(rng, left, right)
    assert_imports_like_onnxruntime(node_model("MatMul", x), x)


@pytest.mark.parametrize("bias", [(), (1,), (4,), (1, 4), (3, 1), (3, 4), None])
@pytest.mark.parametrize("attributes", [{}, {"transB": 1}, {"transA": 1, "alpha": 0.5}, {"beta": 2.0}, {"beta": 0.0}])
@pytest.mark.parametrize("constants", [(), (1, 2)])
def test_gemm(
    bias: tuple[int, ...] | None, attributes: dict, constants: tuple[int, ...], rng: np.random.Generator
) -> None:
    left, right = (6, 3) if attributes.get("transA") else (3, 6), (4, 6) if attributes.get("transB") else (6, 4)
    x = arrays(rng, left, right, *([bias] if bias is not None else []))
    constants = tuple(c for c in constants if c < len(x))
    assert_imports_like_onnxruntime(node_model("Gemm", x, constants=constants, **attributes), x)


def test_gemm_with_constants_is_one_op(rng: np.random.Generator) -> None:
    x = arrays(rng, (3, 6), (4, 6), (1, 4))
    model = node_model("Gemm", x, constants=(1, 2), alpha=0.5, beta=2.0, transB=1)
    assert op_names(model) == ["matmul"]


@pytest.mark.parametrize(
    ("equation", "left", "right", "names"),
    [
        ("ij,jk->ik", (3, 4), (4, 5), ["matmul"]),
        ("ij,jk", (3, 4), (4, 5), ["matmul"]),
        ("ij,kj->ik", (3, 4), (5, 4), ["matmul"]),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5), ["matmul"]),
        ("...ij,...jk->...ik", (2, 6, 3, 4), (2, 6, 4, 5), ["matmul"]),
        ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5), ["matmul"]),
        ("bqhd,bkhd->bhqk", (2, 4, 3, 5), (2, 6, 3, 5), ["transpose", "transpose", "matmul"]),
        ("bfnh,nhd->bfd", (2, 3, 4, 5), (4, 5, 6), ["reshape", "reshape", "matmul", "reshape"]),
        ("ij,jk->ki", (3, 4), (4, 5), ["matmul", "transpose"]),
        ("i,j->ij", (3,), (4,), ["reshape", "reshape", "matmul"]),
    ],
)
def test_einsum(
    equation: str, left: tuple[int, ...], right: tuple[int, ...], names: list[str], rng: np.random.Generator
) -> None:
    x = arrays(rng, left, right)
    model = node_model("Einsum", x, equation=equation)
    module = assert_imports_like_onnxruntime(model, x)
    assert sorted(op.name for op in module.main.ops) == sorted(names)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij->ji", [(3, 4)]),
        ("ij->i", [(3, 4)]),
        ("ii->i", [(4, 4)]),
        ("iij->j", [(3, 3, 2)]),
        ("...ii->...i", [(2, 3, 4, 4)]),
        ("iii", [(3, 3, 3)]),
        ("->", [()]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
        ("ij,jk->i", [(2, 3), (3, 4)]),
        ("ii,ij->ij", [(3, 3), (3, 4)]),
        ("i,i->i", [(5,), (5,)]),
        ("i,i", [(5,), (5,)]),
        ("...i,...i->...", [(2, 1, 5), (3, 5)]),
        ("bi,bij,bj->b", [(2, 3), (2, 3, 4), (2, 4)]),
        ("ij,->ij", [(2, 3), ()]),
        ("ab,ab->ba", [(2, 1), (2, 3)]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_other_sums(equation: str, shapes: list[tuple[int, ...]], dtype: type, rng: np.random.Generator) -> None:
    x = [rng.integers(-4, 5, shape).astype(dtype) for shape in shapes]
    module = import_checked(node_model("Einsum", x, equation=equation))
    (found,) = interp.run(module, {p.name: x[int(p.name[1:])] for p in module.main.parameters}).values()
    np.testing.assert_array_equal(found, np.einsum(equation, *x))


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        ("ijk,jk->i", "the equation does not fit the ranks"),
        ("ij,jk,kl->il", "the equation does not fit the number of tensors"),
        ("ij,jk->iz", "a label of the result is not that of one dimension"),
        ("ij,jk->ii", "a label of the result is not that of one dimension"),
        ("ij,kj->ik", "extents of the same label differ"),
    ],
)
def test_sums_that_do_not_fit(equation: str, text: str, rng: np.random.Generator) -> None:
    model = node_model("Einsum", arrays(rng, (4, 4), (4, 3)), equation=equation)
    with pytest.raises(ModelError, match=text):
        import_checked(model)


def test_scalars_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ModelError, match="scalars have no matrix product"):
        import_checked(node_model("MatMul", arrays(rng, (), (4, 4))))
