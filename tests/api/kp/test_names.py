"""Enumerations, constants, exceptions, and the modules that programs import them from."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from script_runs import run_compat

from tilewright.runtime.api import kp
from tilewright.runtime.api.kp import enums
from tilewright.runtime.api.kp.enums import NamedIntEnum

ENUMERATIONS = [each for each in map(enums.__dict__.get, enums.__all__) if each is not enums.Const]


@pytest.mark.parametrize("enumeration", ENUMERATIONS)
def test_members_show_their_names(enumeration: type[NamedIntEnum]) -> None:
    for member in enumeration:
        name = f"{enumeration.__name__}.{member.name}"
        assert str(member) == repr(member) == f"{member}" == f"{member}" == name
        assert (f"{member:d}", f"{member:#x}") == (str(member.value), hex(member.value))
        assert isinstance(member, int)
        assert enumeration(member.value) is member
        assert pickle.loads(pickle.dumps(member)) is member


def test_values_that_programs_and_devices_exchange() -> None:
    assert {each.name.removeprefix("KP_IMAGE_FORMAT_"): each.value for each in kp.ImageFormat} == {
        "UNKNOWN": 0,
        "RGB565": 0x60,
        "RGBA8888": 0x0D,
        "YUYV": 0x2F,
        "YCBCR422_CRY1CBY0": 0x30,
        "YCBCR422_CBY1CRY0": 0x31,
        "YCBCR422_Y1CRY0CB": 0x32,
        "YCBCR422_Y1CBY0CR": 0x33,
        "YCBCR422_CRY0CBY1": 0x34,
        "YCBCR422_CBY0CRY1": 0x35,
        "YCBCR422_Y0CRY1CB": 0x36,
        "YCBCR422_Y0CBY1CR": 0x37,
        "RAW8": 0x20,
        "YUV420": 0x70,
    }
    assert [each.value for each in kp.NormalizeMode] == [0xFF, 1, 2, 3, 4, 5, 6, 7]
    assert [each.value for each in kp.PaddingMode] == [1, 2, 3]
    assert [each.value for each in kp.ResizeMode] == [1, 2]
    assert [each.value for each in kp.ResetMode] == [0, 1, 2, 3]
    assert [each.value for each in kp.UsbSpeed] == [0, 1, 2, 3, 4]
    assert [each.value for each in kp.ChannelOrdering] == [0, 1, 2, 3]
    assert {each.name.removeprefix("KP_DEVICE_"): each.value for each in kp.ProductId} == {
        "KL520": 0x100,
        "KL720": 0x720,
        "KL720_LEGACY": 0x200,
        "KL530": 0x530,
        "KL730": 0x732,
        "KL630": 0x630,
        "KL540": 0x540,
        "KL830": 0x832,
    }
    assert [each.value for each in kp.ModelTensorDataLayout] == [*range(5)]


def test_return_codes_are_the_numbers_that_their_names_end_in() -> None:
    """But for those of the driver installer, whose names count from -200, and for the beginnings of ranges."""
    found = 0
    for code in kp.ApiReturnCode:
        number = code.name.rpartition("_")[2]
        if number.startswith("N") and number[1:].isdigit():
            offset = 200 if "_WDI_" in code.name else 0
            assert code.value == -offset - int(number[1:])
        elif number.isdigit():
            assert code.value == int(number)
        else:
            found += 1
    assert found == 4
    others = ("KP_SUCCESS", "KP_ERROR_WDI_BEGIN", "KP_FW_ERROR_UNKNOWN_APP", "KP_FW_NCPU_ERR_BEGIN")
    assert [kp.ApiReturnCode[name].value for name in others] == [0, -200, 100, 200]


def test_constants() -> None:
    assert {name: member.value for name, member in kp.Const.__members__.items()} == {
        "MAX_CROP_BOX": 4,
        "FD_MAX": 10,
        "LAND_MARK_POINTS": 5,
        "FR_FEAT_LENGTH": 256,
        "YOLO_GOOD_BOX_MAX": 100,
        "APP_PADDING_BYTES": 20,
        "MAX_INPUT_NODE_COUNT": 5,
        "MAX_MODEL_NUM_IN_NEF": 16,
        "CHANNEL_NUM_RGBA8888": 4,
        "CHANNEL_NUM_RAW8": 1,
        "CHANNEL_NUM_OTHER_FORMAT": 2,
    }


def test_exceptions() -> None:
    error = kp.ApiKPException(kp.ApiReturnCode.KP_ERROR_USB_TIMEOUT_N7, "generic_raw_inference_receive", result=5)
    text = (
        "Error raised in function: generic_raw_inference_receive. Error code: -7. "
        "Description: ApiReturnCode.KP_ERROR_USB_TIMEOUT_N7"
    )
    assert str(error) == text
    assert isinstance(error, kp.ApiException)
    assert (error.api_return_code, error.function_name, error.result) == (
        kp.ApiReturnCode.KP_ERROR_USB_TIMEOUT_N7,
        "generic_raw_inference_receive",
        5,
    )
    told = kp.ApiKPException(kp.ApiReturnCode(21), "load_model", reason="The checksum is wrong.")
    again = pickle.loads(pickle.dumps(told))
    assert str(again) == str(told)
    assert str(told).endswith("Description: ApiReturnCode.KP_ERROR_INVALID_MODEL_21. The checksum is wrong.")
    assert kp.ApiKPException(20, "f").api_return_code is kp.ApiReturnCode.KP_ERROR_FILE_OPEN_FAILED_20  # pyright: ignore[reportArgumentType]


PROGRAM = """
import kp
from kp.KPBaseClass.ValueBase import ValueRepresentBase
from kp.KPConstant import Const
from kp.KPEnum import ApiReturnCode, ImageFormat
from kp.KPException import ApiKPException
from kp.KPValue import GenericRawImageHeader, HwPreProcInfo
from kp.Legacy.V1.KPValue import GenericRawResultHeader
import kp.KPConstant

class Mine(ValueRepresentBase):
    def get_member_variable_dict(self):
        return {"const": kp.KPConstant.Const.MAX_CROP_BOX.value}

print(Mine())
print(kp.v1.GenericRawImageHeader is kp.GenericRawImageHeader is GenericRawImageHeader)
print(kp.ApiReturnCode is ApiReturnCode, kp.ApiKPException is ApiKPException, kp.HwPreProcInfo is HwPreProcInfo)
print(kp.v1.GenericRawResultHeader is GenericRawResultHeader, Const.FD_MAX.value, kp.ImageFormat is ImageFormat)
print([kp.UsbSpeed.KP_USB_SPEED_HIGH], "{}".format(kp.UsbSpeed.KP_USB_SPEED_HIGH))
"""


def test_programs_find_them_where_the_original_has_them(tmp_path: Path) -> None:
    assert run_compat(tmp_path, PROGRAM) == (
        '{\n    "const": 4\n}\nTrue\nTrue True True\nTrue 10 True\n'
        "[UsbSpeed.KP_USB_SPEED_HIGH] UsbSpeed.KP_USB_SPEED_HIGH\n"
    )
