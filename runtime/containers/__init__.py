"""Containers of models: the file that a device loads.

``tilewright compile MODEL -o OUT.nef --kp-id ID`` makes one, and ``tilewright.compile_container`` in Python; several
models with an id each go into one file. ``--kp-target`` says which device it is for, KL520 or KL720. Containers that
the vendor's compiler has made hold instructions for its own processor, and are refused with that reason: such a model
has to be compiled from what it came from.

A model of a container takes one image as int8 [1, C, H, W] and gives int8 outputs of four dimensions: [N, C] is [N,
C, 1, 1], [N, C, L] is [N, C, 1, L], and of more than four dimensions all but the last two are channels. All have the
zero point 0: inputs are q / 2^radix, outputs q / (scale * 2^radix). The engines ``device`` and ``software`` give the
same integers, byte for byte.

The radix of the input is 8 for images that are normalised as ``KP_NORMALIZE_KNERON`` does, and 7 for
``KP_NORMALIZE_TENSOR_FLOW`` and ``KP_NORMALIZE_YOLO``. It follows from ``--preprocess`` where calibration is with
images (``mean=128,scale=1/256``, ``mean=127.5,scale=1/127.5`` and ``mean=0,scale=1/255``), otherwise from the range
that the samples, or a network that is quantised already, give the input; ``--kp-radix`` overrules both.

A network in floating point is quantised with ranges from ``--calibration``. One that is quantised already keeps its
integers: its input and outputs are what it makes of the real numbers, exactly, whatever their scales and zero points
are. Outputs that are computed in floating point, after a softmax or the decoding of boxes, are rounded to 8 bits at
the end, with the range that the operator has or that the samples show; it is mostly better to take them from before.

The file has the envelope that programs and viewers parse themselves: FlatBuffers with a header (field 1 of the root;
target, toolchain version and schema version are its fields 1, 6 and 7) and a ``model_bin`` (field 3; ``fw_info`` and
``all_models`` are its fields 0 and 1), and the CRC-32 of all that in the last four bytes. In ``all_models``, the
first part of a model is an artifact, the second describes its nodes in JSON, and the setup record with the radix of
the input follows.
"""
