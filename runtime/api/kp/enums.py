"""The enumerations and constants of the API."""

from enum import IntEnum, unique


class NamedIntEnum(IntEnum):
    """An integer that `str`, `repr` and empty formats show as ``Class.MEMBER``, whatever version of Python shows it."""

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else str(self)


class ChannelOrdering(NamedIntEnum):
    """The order of a node's dimensions: HCW is that of KL520, CHW that of KL720, and DEFAULT that of the device."""

    KP_CHANNEL_ORDERING_HCW = 0
    KP_CHANNEL_ORDERING_CHW = 1
    KP_CHANNEL_ORDERING_HWC = 2
    KP_CHANNEL_ORDERING_DEFAULT = 3


class ImageFormat(NamedIntEnum):
    """Formats of images, in bytes as they lie in memory.

    RGB565 is of 16 bits a pixel, the lower byte first, with red in the upper five bits and blue in the lower; RGBA8888
    has a byte each of red, green, blue and alpha. The names of YCBCR422 give the bytes of two pixels in order, and YUYV
    is Y0CBY1CR. RAW8 is grey, a byte a pixel. YUV420 has a plane of Y and two of a quarter of the size."""

    KP_IMAGE_FORMAT_UNKNOWN = 0x0
    KP_IMAGE_FORMAT_RGB565 = 0x60
    KP_IMAGE_FORMAT_RGBA8888 = 0x0D
    KP_IMAGE_FORMAT_YUYV = 0x2F
    KP_IMAGE_FORMAT_YCBCR422_CRY1CBY0 = 0x30
    KP_IMAGE_FORMAT_YCBCR422_CBY1CRY0 = 0x31
    KP_IMAGE_FORMAT_YCBCR422_Y1CRY0CB = 0x32
    KP_IMAGE_FORMAT_YCBCR422_Y1CBY0CR = 0x33
    KP_IMAGE_FORMAT_YCBCR422_CRY0CBY1 = 0x34
    KP_IMAGE_FORMAT_YCBCR422_CBY0CRY1 = 0x35
    KP_IMAGE_FORMAT_YCBCR422_Y0CRY1CB = 0x36
    KP_IMAGE_FORMAT_YCBCR422_Y0CBY1CR = 0x37
    KP_IMAGE_FORMAT_RAW8 = 0x20
    KP_IMAGE_FORMAT_YUV420 = 0x70


class NormalizeMode(NamedIntEnum):
    """What pixels of 0 to 255 become: KNERON x / 256 - 0.5, TENSOR_FLOW x / 127.5 - 1, YOLO x / 255.

    The customised modes subtract 128, halve, or do both, on the bytes themselves."""

    KP_NORMALIZE_DISABLE = 0xFF
    KP_NORMALIZE_KNERON = 0x1
    KP_NORMALIZE_TENSOR_FLOW = 0x2
    KP_NORMALIZE_YOLO = 0x3
    KP_NORMALIZE_CUSTOMIZED_DEFAULT = 0x4
    KP_NORMALIZE_CUSTOMIZED_SUB128 = 0x5
    KP_NORMALIZE_CUSTOMIZED_DIV2 = 0x6
    KP_NORMALIZE_CUSTOMIZED_SUB128_DIV2 = 0x7


class PaddingMode(NamedIntEnum):
    """Where a resized image that keeps its proportions is filled up: CORNER at the right and at the bottom."""

    KP_PADDING_DISABLE = 0x1
    KP_PADDING_CORNER = 0x2
    KP_PADDING_SYMMETRIC = 0x3


class ResizeMode(NamedIntEnum):
    """Whether images are resized to the input of the model."""

    KP_RESIZE_DISABLE = 0x1
    KP_RESIZE_ENABLE = 0x2


class ProductId(NamedIntEnum):
    """USB product numbers of devices."""

    KP_DEVICE_KL520 = 0x100
    KP_DEVICE_KL720 = 0x720
    KP_DEVICE_KL720_LEGACY = 0x200
    KP_DEVICE_KL530 = 0x530
    KP_DEVICE_KL730 = 0x732
    KP_DEVICE_KL630 = 0x630
    KP_DEVICE_KL540 = 0x540
    KP_DEVICE_KL830 = 0x832


class ResetMode(NamedIntEnum):
    """How far a device is reset: REBOOT disconnects it, INFERENCE empties its queues."""

    KP_RESET_REBOOT = 0
    KP_RESET_INFERENCE = 1
    KP_RESET_SHUTDOWN = 2
    KP_RESET_REBOOT_SYSTEM = 3


class UsbSpeed(NamedIntEnum):
    """The speed of a USB link."""

    KP_USB_SPEED_UNKNOWN = 0
    KP_USB_SPEED_LOW = 1
    KP_USB_SPEED_FULL = 2
    KP_USB_SPEED_HIGH = 3
    KP_USB_SPEED_SUPER = 4


class ModelTargetChip(NamedIntEnum):
    """The device that a model is for."""

    KP_MODEL_TARGET_CHIP_UNKNOWN = 0
    KP_MODEL_TARGET_CHIP_KL520 = 1
    KP_MODEL_TARGET_CHIP_KL720 = 2
    KP_MODEL_TARGET_CHIP_KL530 = 3
    KP_MODEL_TARGET_CHIP_KL730 = 4
    KP_MODEL_TARGET_CHIP_KL630 = 5
    KP_MODEL_TARGET_CHIP_KL540 = 6


class ModelTensorDataLayout(NamedIntEnum):
    """How a tensor lies in the memory of a device: the elements of width and channel in a block, and bits of each."""

    KP_MODEL_TENSOR_DATA_LAYOUT_UNKNOWN = 0
    KP_MODEL_TENSOR_DATA_LAYOUT_4W4C8B = 1
    KP_MODEL_TENSOR_DATA_LAYOUT_1W16C8B = 2
    KP_MODEL_TENSOR_DATA_LAYOUT_16W1C8B = 3
    KP_MODEL_TENSOR_DATA_LAYOUT_8W1C16B = 4


class FixedPointDType(NamedIntEnum):
    """The integers of a node's raw data."""

    KP_FIXED_POINT_DTYPE_UNKNOWN = 0
    KP_FIXED_POINT_DTYPE_INT8 = 1
    KP_FIXED_POINT_DTYPE_INT16 = 2


@unique
class ApiReturnCode(NamedIntEnum):
    """Return codes: of the USB transport, of the driver installer, of the host, of the firmware.

    A number at the end of a name is the code, with N for minus."""

    KP_SUCCESS = 0
    KP_ERROR_USB_IO_N1 = -1
    KP_ERROR_USB_INVALID_PARAM_N2 = -2
    KP_ERROR_USB_ACCESS_N3 = -3
    KP_ERROR_USB_NO_DEVICE_N4 = -4
    KP_ERROR_USB_NOT_FOUND_N5 = -5
    KP_ERROR_USB_BUSY_N6 = -6
    KP_ERROR_USB_TIMEOUT_N7 = -7
    KP_ERROR_USB_OVERFLOW_N8 = -8
    KP_ERROR_USB_PIPE_N9 = -9
    KP_ERROR_USB_INTERRUPTED_N10 = -10
    KP_ERROR_USB_NO_MEM_N11 = -11
    KP_ERROR_USB_NOT_SUPPORTED_N12 = -12
    KP_ERROR_USB_OTHER_N99 = -99

    KP_ERROR_WDI_BEGIN = -200
    KP_ERROR_WDI_IO_N1 = -201
    KP_ERROR_WDI_INVALID_PARAM_N2 = -202
    KP_ERROR_WDI_ACCESS_N3 = -203
    KP_ERROR_WDI_NO_DEVICE_N4 = -204
    KP_ERROR_WDI_NOT_FOUND_N5 = -205
    KP_ERROR_WDI_BUSY_N6 = -206
    KP_ERROR_WDI_TIMEOUT_N7 = -207
    KP_ERROR_WDI_OVERFLOW_N8 = -208
    KP_ERROR_WDI_PENDING_INSTALLATION_N9 = -209
    KP_ERROR_WDI_INTERRUPTED_N10 = -210
    KP_ERROR_WDI_RESOURCE_N11 = -211
    KP_ERROR_WDI_NOT_SUPPORTED_N12 = -212
    KP_ERROR_WDI_EXISTS_N13 = -213
    KP_ERROR_WDI_USER_CANCEL_N14 = -214
    KP_ERROR_WDI_NEEDS_ADMIN_N15 = -215
    KP_ERROR_WDI_WOW64_N16 = -216
    KP_ERROR_WDI_INF_SYNTAX_N17 = -217
    KP_ERROR_WDI_CAT_MISSING_N18 = -218
    KP_ERROR_WDI_UNSIGNED_N19 = -219
    KP_ERROR_WDI_OTHER_N99 = -299

    KP_ERROR_MEMORY_ALLOCATION_FAILURE_9 = 9
    KP_ERROR_DEVICE_NOT_EXIST_10 = 10
    KP_ERROR_DEVICE_INCORRECT_RESPONSE_11 = 11
    KP_ERROR_INVALID_PARAM_12 = 12
    KP_ERROR_SEND_DESC_FAIL_13 = 13
    KP_ERROR_SEND_DATA_FAIL_14 = 14
    KP_ERROR_SEND_DATA_TOO_LARGE_15 = 15
    KP_ERROR_RECV_DESC_FAIL_16 = 16
    KP_ERROR_RECV_DATA_FAIL_17 = 17
    KP_ERROR_RECV_DATA_TOO_LARGE_18 = 18
    KP_ERROR_FW_UPDATE_FAILED_19 = 19
    KP_ERROR_FILE_OPEN_FAILED_20 = 20
    KP_ERROR_INVALID_MODEL_21 = 21
    KP_ERROR_IMAGE_RESOLUTION_TOO_SMALL_22 = 22
    KP_ERROR_IMAGE_ODD_WIDTH_23 = 23
    KP_ERROR_INVALID_FIRMWARE_24 = 24
    KP_ERROR_RESET_FAILED_25 = 25
    KP_ERROR_DEVICES_NUMBER_26 = 26
    KP_ERROR_CONFIGURE_DEVICE_27 = 27
    KP_ERROR_CONNECT_FAILED_28 = 28
    KP_ERROR_DEVICE_GROUP_MIX_PRODUCT_29 = 29
    KP_ERROR_RECEIVE_INCORRECT_HEADER_STAMP_30 = 30
    KP_ERROR_RECEIVE_SIZE_MISMATCH_31 = 31
    KP_ERROR_RECEIVE_JOB_ID_MISMATCH_32 = 32
    KP_ERROR_INVALID_CUSTOMIZED_JOB_ID_33 = 33
    KP_ERROR_FW_LOAD_FAILED_34 = 34
    KP_ERROR_MODEL_NOT_LOADED_35 = 35
    KP_ERROR_INVALID_CHECKPOINT_DATA_36 = 36
    KP_DBG_CHECKPOINT_END_37 = 37
    KP_ERROR_INVALID_HOST_38 = 38
    KP_ERROR_MEMORY_FREE_FAILURE_39 = 39
    KP_ERROR_USB_BOOT_LOAD_SECOND_MODEL_40 = 40
    KP_ERROR_CHECK_FW_VERSION_FAILED_41 = 41
    KP_ERROR_FIFOQ_INPUT_BUFF_COUNT_NOT_ENOUGH_42 = 42
    KP_ERROR_FIFOQ_SETTING_FAILED_43 = 43
    KP_ERROR_UNSUPPORTED_DEVICE_44 = 44
    KP_ERROR_IMAGE_INVALID_HEIGHT_45 = 45
    KP_ERROR_OTHER_99 = 99

    KP_FW_ERROR_UNKNOWN_APP = 100
    KP_FW_INFERENCE_ERROR_101 = 101
    KP_FW_DDR_MALLOC_FAILED_102 = 102
    KP_FW_INFERENCE_TIMEOUT_103 = 103
    KP_FW_LOAD_MODEL_FAILED_104 = 104
    KP_FW_CONFIG_POST_PROC_ERROR_MALLOC_FAILED_105 = 105
    KP_FW_CONFIG_POST_PROC_ERROR_NO_SPACE_106 = 106
    KP_FW_IMAGE_SIZE_NOT_MATCH_MODEL_INPUT_107 = 107
    KP_FW_NOT_SUPPORT_PREPROCESSING_108 = 108
    KP_FW_GET_MODEL_INFO_FAILED_109 = 109
    KP_FW_WRONG_INPUT_BUFFER_COUNT_110 = 110
    KP_FW_INVALID_PRE_PROC_MODEL_INPUT_SIZE_111 = 111
    KP_FW_INVALID_INPUT_CROP_PARAM_112 = 112
    KP_FW_ERROR_FILE_OPEN_FAILED_113 = 113
    KP_FW_ERROR_FILE_STATE_FAILED_114 = 114
    KP_FW_ERROR_FILE_READ_FAILED_115 = 115
    KP_FW_ERROR_FILE_WRITE_FAILED_116 = 116
    KP_FW_ERROR_FILE_CHMOD_FAILED_117 = 117
    KP_FW_ERROR_FILE_FAILED_OTHER_118 = 118
    KP_FW_ERROR_INVALID_BOOT_CONFIG_119 = 119
    KP_FW_ERROR_LOADER_ERROR_120 = 120
    KP_FW_ERROR_POSIX_SPAWN_FAILED_121 = 121
    KP_FW_ERROR_USB_SEND_FAILED_122 = 122
    KP_FW_ERROR_USB_RECEIVE_FAILED_123 = 123
    KP_FW_NCPU_ERR_BEGIN = 200
    KP_FW_NCPU_INVALID_IMAGE_201 = 201
    KP_FW_EFUSE_CAN_NOT_BURN_300 = 300
    KP_FW_EFUSE_PROTECTED_301 = 301
    KP_FW_EFUSE_OTHER_302 = 302


class Const(IntEnum):
    """Limits and sizes. Constants of equal values are one member."""

    MAX_CROP_BOX = 4
    FD_MAX = 10
    LAND_MARK_POINTS = 5
    FR_FEAT_LENGTH = 256
    YOLO_GOOD_BOX_MAX = 100
    APP_PADDING_BYTES = 20
    MAX_INPUT_NODE_COUNT = 5
    MAX_MODEL_NUM_IN_NEF = 16
    CHANNEL_NUM_RGBA8888 = 4
    CHANNEL_NUM_RAW8 = 1
    CHANNEL_NUM_OTHER_FORMAT = 2


__all__ = ["ApiReturnCode", "ChannelOrdering", "Const", "FixedPointDType", "ImageFormat", "ModelTargetChip"]
__all__ += ["ModelTensorDataLayout", "NormalizeMode", "PaddingMode", "ProductId", "ResetMode", "ResizeMode", "UsbSpeed"]
