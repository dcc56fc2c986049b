"""Import of MatMul, Gemm and Einsum."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

from tilewright.errors import ModelError, UnsupportedError


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
    ("equation", "error", "text"),
    [
        ("ii,ij->ij", UnsupportedError, "this sum is not a matrix product; found 'ii,ij->ij'"),
        ("ij,jk->i", UnsupportedError, "this sum is not a matrix product; found 'ij,jk->i'"),
        ("ijk,jk->i", ModelError, "the equation does not fit the ranks"),
        ("ij,jk,kl->il", ModelError, "the equation does not fit two tensors"),
    ],
)
def test_other_sums_are_refused(equation: str, error: type[Exception], text: str, rng: np.random.Generator) -> None:
    model = node_model("Einsum", arrays(rng, (4, 4), (4, 4)), equation=equation)
    with pytest.raises(error, match=text):
        import_checked(model)


def test_scalars_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ModelError, match="scalars have no matrix product"):
        import_checked(node_model("MatMul", arrays(rng, (), (4, 4))))
