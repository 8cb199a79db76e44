"""NVIDIA's management library, where there is one: the device's clocks, temperature and errors.

Every function takes the module `pynvml` (package nvidia-ml-py) as its first argument, so that a
stand-in can take its place.
"""

import contextlib
import os
import re
from typing import Optional

# bit of the throttle reasons -> what it means; a device at rest (1) does not throttle
THROTTLE_REASONS = {
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal, by software",
    0x40: "thermal, by hardware",
    0x80: "power brake",
}


def load() -> tuple:
    """The initialised library.

    Returns:
        (pynvml, None), or (None, why there is none).
    """
    try:
        import pynvml
    except ImportError:
        return None, "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"NVML does not start: {error}"
    return pynvml, None


def device(nvml, local_rank: int):
    """The handle of the device that a rank uses: the local_rank-th of CUDA_VISIBLE_DEVICES.

    Raises:
        IndexError: there is no such device.
        nvml.NVMLError: the library does not know it.
    """
    words = os.environ.get("CUDA_VISIBLE_DEVICES")
    if words is None:
        visible = [str(index) for index in range(nvml.nvmlDeviceGetCount())]
    else:
        visible = [word.strip() for word in words.split(",") if word.strip()]
    if not visible:
        raise IndexError("no device is visible (CUDA_VISIBLE_DEVICES)")
    word = visible[local_rank % len(visible)]
    if re.fullmatch("[0-9]+", word):
        return nvml.nvmlDeviceGetHandleByIndex(int(word))
    return nvml.nvmlDeviceGetHandleByUUID(word)


def uuid(nvml, handle) -> str:
    """The device's own name; old versions of the library give bytes."""
    name = nvml.nvmlDeviceGetUUID(handle)
    return name.decode() if isinstance(name, bytes) else name


def uuid_of_rank(local_rank: int) -> Optional[str]:
    """The own name of the device that a rank uses; None if it cannot be read."""
    nvml, _ = load()
    if nvml is None:
        return None
    with contextlib.suppress(IndexError, nvml.NVMLError):
        return uuid(nvml, device(nvml, local_rank))
    return None


def health(nvml, handle) -> dict:
    """The state of a device at this moment; None where it cannot be read.

    Returns:
        {"clock": MHz, "memory_clock": MHz, "temperature": degrees Celsius, "power": W,
        "throttling": words, "ecc_corrected", "ecc_uncorrected": errors since the last reset}.
    """

    def ask(function: str, arguments: tuple = ()) -> Optional[float]:
        with contextlib.suppress(AttributeError, nvml.NVMLError):
            return getattr(nvml, function)(handle, *arguments)
        return None

    power = ask("nvmlDeviceGetPowerUsage")
    bits = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    volatile = nvml.NVML_VOLATILE_ECC
    return {
        "clock": ask("nvmlDeviceGetClockInfo", (nvml.NVML_CLOCK_SM,)),
        "memory_clock": ask("nvmlDeviceGetClockInfo", (nvml.NVML_CLOCK_MEM,)),
        "temperature": ask("nvmlDeviceGetTemperature", (nvml.NVML_TEMPERATURE_GPU,)),
        "power": None if power is None else power / 1000,
        "throttling": None
        if bits is None
        else ", ".join(word for bit, word in THROTTLE_REASONS.items() if bits & bit),
        "ecc_corrected": ask(
            "nvmlDeviceGetTotalEccErrors", (nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, volatile)
        ),
        "ecc_uncorrected": ask(
            "nvmlDeviceGetTotalEccErrors", (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, volatile)
        ),
    }
