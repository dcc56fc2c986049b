"""The container and its manifest: what is written comes back, and nothing damaged is accepted."""

from __future__ import annotations

import json
import random
import sys
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from artifact_samples import program_object, small_artifact, small_manifest, small_sections, weights

from tilewright.errors import ArtifactError, ResourceError, UsageError
from tilewright.runtime.artifact import container
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes, write_artifact
from tilewright.runtime.artifact.container import Section, SectionKind
from tilewright.runtime.artifact.manifest import (
    BufferRef,
    CpuStage,
    DeviceProgramInfo,
    DeviceStage,
    Engine,
    FeatureMapRef,
    Manifest,
    ReferenceStage,
    StepInfo,
    TensorSpec,
)
from tilewright.runtime.profile import host_pieces
from tilewright.runtime.trust.credentials import sha256


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "small.twa"
    write_artifact(path, small_manifest(), small_sections())
    artifact = Artifact.open(path)
    assert artifact.manifest == small_manifest()
    assert list(artifact.sections) == ["manifest", "main.code", "main.module", "main.constants"]
    assert artifact.copy("main.code") == program_object()
    assert artifact.section("main.constants") == weights().tobytes()
    assert artifact.text("main.module") == "module @small {}"
    assert artifact.sections["main.constants"].offset % 4096 == 0
    assert all(entry.offset % 64 == 0 for entry in artifact.sections.values())
    assert artifact.section("main.constants").readonly
    for name in artifact.sections:
        artifact.copy(name)
    assert [item.name for item in tmp_path.iterdir()] == ["small.twa"]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a.twa", small_manifest(), small_sections())
    assert (tmp_path / "a.twa").read_bytes() == small_artifact()
    assert Artifact.open(small_artifact()).digest == Artifact.open(tmp_path / "a.twa").digest
    assert small_artifact(precision="other") != small_artifact()


def test_every_stage_kind_round_trips() -> None:
    manifest = small_manifest()
    steps = (StepInfo("a", "relu", "k"), StepInfo("b", "topk", None, ("TopK_1", "Cast_2")))
    program = replace(manifest.cpu_programs["main"], steps=steps)
    ref = BufferRef("arena", 64, "f32", (2, 8))
    stages = (
        DeviceStage("net", (BufferRef("input", 0, "f32", (2, 8)),), (ref,)),
        CpuStage("main", 0, 1),
        ReferenceStage("main", 1, "module @b {}", (BufferRef("constants", 0, "i64", ()), ref), (ref,)),
    )
    manifest = replace(
        manifest,
        cpu_programs={"main": program},
        device_programs={"net": DeviceProgramInfo("i", "w", (), (FeatureMapRef(0, (1, 1, 2, 8), 16),))},
        engines={"device": Engine(stages), "float": Engine(stages[1:2])},
    )
    sections = [
        *small_sections(),
        Section("i", SectionKind.DEVICE_INSTRUCTIONS, bytes(32)),
        Section("w", SectionKind.DEVICE_WEIGHTS, bytes(64)),
    ]
    assert Artifact.open(artifact_bytes(manifest, sections)).manifest == manifest
    assert manifest.engines["device"].cpu_program == "main"
    assert [step.reference for step in program.steps] == [False, True]


@pytest.mark.parametrize("seed", range(4))
def test_every_bit_flip_is_noticed(seed: int) -> None:
    content = small_artifact()
    random_source = random.Random(seed)
    for _ in range(200):
        damaged = bytearray(content)
        # Most of the file is padding and code: half of the flips go where the structure is.
        end = 900 if random_source.random() < 0.5 else len(content)
        damaged[random_source.randrange(end)] ^= 1 << random_source.randrange(8)
        with pytest.raises(ArtifactError):
            Artifact.open(damaged)


def test_every_truncation_and_extension_is_noticed(tmp_path: Path) -> None:
    content = small_artifact()
    path = tmp_path / "damaged.twa"
    random_source = random.Random(5)
    for length in [0, 1, 7, 8, 255, 256, 257, len(content) - 1, *random_source.sample(range(len(content)), 200)]:
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError):
            Artifact.open(path)
    for extra in (b"\0", b"more", bytes(4096)):
        path.write_bytes(content + extra)
        with pytest.raises(ArtifactError, match="its length is not the one in its header"):
            Artifact.open(path)


def test_bytes_exchanged_and_pieces_overwritten_are_noticed() -> None:
    content = small_artifact()
    random_source = random.Random(6)
    for _ in range(200):
        damaged = bytearray(content)
        start = random_source.randrange(len(content) - 64)
        length = random_source.randrange(1, 64)
        damaged[start : start + length] = random_source.randbytes(length)
        if damaged != content:
            with pytest.raises(ArtifactError):
                Artifact.open(damaged)


HEADER, ENTRY = 256, 128


def reseal(content: bytes, table_changes: dict[int, bytes]) -> bytes:
    """Change bytes and repair digest and header checksum, as a hostile writer would."""
    changed = bytearray(content)
    for offset, value in table_changes.items():
        changed[offset : offset + len(value)] = value
    count = int.from_bytes(changed[16:20], "little")
    changed[20:24] = bytes(4)
    header = bytes(changed[:32]) + bytes(HEADER - 32)
    changed[32:64] = sha256(header + bytes(changed[HEADER : HEADER + ENTRY * count]))
    changed[20:24] = zlib.crc32(changed[:HEADER]).to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize("value", [0, 1, 2**31, 2**32 - 1, 2**62, 2**64 - 1, 640, 4095])
@pytest.mark.parametrize("field", [56, 64])
@pytest.mark.parametrize("section", range(4))
def test_offsets_and_lengths_are_checked_before_use(section: int, field: int, value: int) -> None:
    content = small_artifact()
    place = HEADER + ENTRY * section + field
    encoded = value.to_bytes(8, "little")
    if content[place : place + 8] != encoded:
        with pytest.raises(ArtifactError, match="is damaged"):
            Artifact.open(reseal(content, {place: encoded}))


def test_resealed_names_kinds_and_counts_are_checked() -> None:
    content = small_artifact()
    assert Artifact.open(reseal(content, {})).manifest == small_manifest()
    for change in (
        {HEADER: b"\xff\xfe"},
        {HEADER: bytes(48)},
        {HEADER: b"main.code" + bytes(39)},
        {HEADER + 48: b"\x63\0\0\0"},
        {HEADER + 48: b"\x02\0\0\0"},
        {12: b"\1\0\0\0"},
        {HEADER - 1: b"\1"},
        {HEADER + 104: b"\1"},
    ):
        with pytest.raises(ArtifactError):
            Artifact.open(reseal(content, change))
    for count in (0, 1, 3, 5, 4097, 2**31):
        with pytest.raises(ArtifactError):
            Artifact.open(content[:16] + count.to_bytes(4, "little") + content[20:])


@pytest.mark.parametrize("source", [memoryview(bytes(512))[::2], 5, None, ["a.twa"]])
def test_what_is_neither_a_path_nor_bytes_is_refused(source: object) -> None:
    with pytest.raises(UsageError, match="this cannot be an artifact; expected a path, or bytes in one piece, found"):
        Artifact.open(source)  # pyright: ignore[reportArgumentType]


def test_files_and_members_of_archives_are_told_how_they_are_read(tmp_path: Path) -> None:
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model.twa", small_artifact())
    member = zipfile.Path(archive, "model.twa")
    with pytest.raises(UsageError, match=r"found Path\. Give what its read_bytes\(\) returns\."):
        Artifact.open(member)  # pyright: ignore[reportArgumentType]
    with member.open("rb") as file, pytest.raises(UsageError, match=r"Give what its read\(\) returns\."):
        Artifact.open(file)  # pyright: ignore[reportArgumentType]
    opens = r"Open it with mode 'rb'\. Give what its read\(\) returns\."
    with archive.open(encoding="latin-1") as text, pytest.raises(UsageError, match=opens):
        Artifact.open(text)  # pyright: ignore[reportArgumentType]
    assert Artifact.open(member.read_bytes()).manifest


def test_a_manifest_that_fills_the_memory_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = replace(small_manifest(), details={"lists": [[]] * 20})
    content = artifact_bytes(manifest, small_sections())
    size = len(manifest.to_json())
    module = sys.modules[Artifact.__module__]
    monkeypatch.setattr(module, "MANIFEST", size)
    Artifact.open(content)
    monkeypatch.setattr(module, "MANIFEST", size - 1)
    for refused in (lambda: Artifact.open(content), lambda: artifact_bytes(manifest, small_sections())):
        with pytest.raises(ResourceError) as caught:
            refused()
        expected = f"artifact: the manifest is too large; expected at most {size - 1}, found {size}"
        assert str(caught.value) == expected


def test_other_files_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07\x12\x0cpytorch")
    with pytest.raises(ArtifactError, match=r"model\.onnx is not a Tilewright artifact; expected a \.twa file"):
        Artifact.open(path)
    with pytest.raises(ArtifactError, match=r"cannot read '.*absent.twa': No such file or directory"):
        Artifact.open(tmp_path / "absent.twa")
    with pytest.raises(ArtifactError, match="cannot read"):
        Artifact.open(tmp_path)


def with_manifest(text: bytes) -> bytes:
    """An artifact whose checksums are right and whose manifest is `text`."""
    sections = [Section("manifest", SectionKind.MANIFEST, text), *small_sections()]
    return b"".join(container.chunks(sections, container.lay_out(sections)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "manifest: not JSON: "),
        (b"[]", r"manifest: the top level is not an object; found \[\]"),
        (b"\xff\xfe", "manifest: not JSON: "),
        (b'{"a":1,"a":2}', "manifest: field 'a' is given twice"),
        (b'{"a":NaN}', "NaN is not a number"),
        (b"[" * 100_000, "manifest: not JSON: "),
        (b'{"a":' + b"9" * 10_000 + b"}", "manifest: not JSON: "),
        (b"{}", "manifest: field 'compiler_version' is missing. Also missing: counts, cpu_programs, details, "),
    ],
)
def test_manifests_that_are_no_manifests(text: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        Artifact.open(with_manifest(text))


@pytest.mark.parametrize("path", ["inputs", "outputs"])
def test_inputs_and_outputs_are_counted_before_they_are_read(path: str) -> None:
    """Half a million of them fill a manifest, and take seconds."""
    tree = json.loads(small_manifest().to_json())
    tree[path] = [None] * (2**16 + 1)
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(with_manifest(json.dumps(tree).encode()))
    assert str(caught.value).endswith(f"field {path!r} is too long; expected at most 65536, found 65537")


def test_unknown_manifest_field_is_an_error() -> None:
    fields = json.loads(small_manifest().to_json())
    fields["cpu_programs"]["main"]["target"]["surprise"] = 1
    with pytest.raises(ArtifactError, match=r"manifest: field 'cpu_programs\.main\.target\.surprise' is unknown"):
        Artifact.open(with_manifest(json.dumps(fields).encode()))


def test_no_section_serves_two_programs() -> None:
    """Programs that all name the same instructions would each have them verified."""
    program = DeviceProgramInfo("i", "w", (), ())
    manifest = replace(small_manifest(), device_programs={"first": program, "second": program})
    sections = [Section("i", SectionKind.DEVICE_INSTRUCTIONS, b""), Section("w", SectionKind.DEVICE_WEIGHTS, b"")]
    with pytest.raises(ArtifactError) as caught:
        artifact_bytes(manifest, [*small_sections(), *sections])
    assert str(caught.value) == (
        "artifact: device program 'second': instructions: the manifest contradicts itself; expected a section of its "
        "own, of [], found 'i'"
    )


ODD_VALUES = [None, True, -1, 1.5, 2**63, 2**100, "", "x", "\ud800", [], {}, [None], {"": None}, "arena", 10**6]


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value inside a JSON value."""
    inside = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


def test_any_value_in_any_field_is_read_or_refused() -> None:
    """No value in the manifest leads to any exception but ArtifactError."""
    refused = 0
    original = json.loads(small_manifest().to_json())
    for path in places(original)[1:]:
        for value in ODD_VALUES:
            fields = json.loads(small_manifest().to_json())
            parent = fields
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = value
            try:
                Artifact.open(with_manifest(json.dumps(fields).encode()))
            except ArtifactError:
                refused += 1
    assert refused > 400


INPUT = BufferRef("input", 0, "f32", (2, 8))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (CpuStage("other", 0, 1), r"expected one of the CPU programs \['main'\], found 'other'"),
        (CpuStage("main", 0, 4), r"expected steps within 0 to 3, found \[0, 4\)"),
        (CpuStage("main", 2, 2), r"found \[2, 2\)"),
        (ReferenceStage("main", 1, "", (), ()), "expected a step without a kernel, found step 'exponential'"),
        (DeviceStage("net", (INPUT,), ()), r"expected one of the device programs \[\], found net"),
    ],
)
def test_stages_stay_within_their_program(stage: CpuStage | ReferenceStage | DeviceStage, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        small_artifact(engines={"float": Engine((stage,))})


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        (BufferRef("arena", 64, "f32", (17,)), "expected a buffer within the 128 bytes of arena, found 68 at 64"),
        (BufferRef("arena", 2, "f32", (1,)), "expected an offset that is a multiple of 4, found 2"),
        (BufferRef("constants", 0, "f64", (9,)), "within the 64 bytes of constants"),
        (BufferRef("input", 1, "f32", (2, 8)), "expected an input index below 1, found 1"),
        (BufferRef("output", 0, "f32", (-4, -4)), r"expected extents of at least 0, found \[-4, -4\]"),
        (BufferRef("output", 0, "f32", (4, 5)), r"expected f32\[16\], found f32\[4, 5\]"),
    ],
)
def test_buffers_stay_within_their_memory(ref: BufferRef, message: str) -> None:
    manifest = small_manifest()
    program = replace(manifest.cpu_programs["main"], steps=(StepInfo("a", "topk", None),))
    engine = Engine((ReferenceStage("main", 0, "", (ref,), ()),))
    with pytest.raises(ArtifactError, match=message):
        small_artifact(cpu_programs={"main": program}, engines={"float": engine})


def test_results_never_go_to_constants_or_inputs() -> None:
    program = replace(small_manifest().cpu_programs["main"], steps=(StepInfo("a", "topk", None),))
    engine = Engine((ReferenceStage("main", 0, "", (), (INPUT,)),))
    with pytest.raises(ArtifactError, match="expected results in the arena or an output, found input"):
        small_artifact(cpu_programs={"main": program}, engines={"float": engine})


def test_writer_refuses_what_the_reader_would_refuse() -> None:
    with pytest.raises(ArtifactError, match=r"CPU program 'main': code: .* found 'main.code'"):
        artifact_bytes(small_manifest(), small_sections()[1:])
    with pytest.raises(ArtifactError, match="input names"):
        small_artifact(inputs=(TensorSpec("x", "f32", (1,)),) * 2)
    with pytest.raises(ArtifactError, match=r"section name 'main\.code' cannot be stored"):
        artifact_bytes(small_manifest(), [*small_sections(), small_sections()[0]])
    with pytest.raises(ArtifactError, match="expected some of device, software, float"):
        small_artifact(engines={})


def test_manifest_json_is_stable() -> None:
    manifest = small_manifest()
    assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


def test_the_host_works_in_pieces_between_device_programs() -> None:
    def device(name: str) -> DeviceStage:
        return DeviceStage(name, (), ())

    reference = ReferenceStage("main", 3, "", (), ())
    stages = (CpuStage("main", 0, 3), reference, device("a"), device("b"), CpuStage("main", 4, 5), device("c"))
    assert host_pieces(Engine(stages)) == [(0, 2, "", "a", 4), (4, 5, "b", "c", 1)]
    assert host_pieces(Engine(stages[:2])) == [(0, 2, "", "", 4)]
    assert host_pieces(Engine(stages[2:4])) == []
