"""Sysfs trees and outputs of sensors as documented by the vendors, for a temporary folder.

Jetson: device trees and labels of Jetson Linux 35 and 36; Documentation/hwmon/ina3221.rst. tegrastats: lines
of an AGX Orin (JetPack 6) and a TX2 (JetPack 3). Raspberry Pi 5: bookworm, four busy cores.
"""

from __future__ import annotations

from pathlib import Path

# label: (mV, mA)
Rails = dict[str, tuple[int, int]]

ORIN_NX: Rails = {"VDD_IN": (5024, 1144), "VDD_CPU_GPU_CV": (5016, 240), "VDD_SOC": (5016, 320)}
AGX_ORIN: tuple[Rails, Rails] = (
    {"VDD_GPU_SOC": (19936, 240), "VDD_CPU_CV": (19936, 80), "VIN_SYS_5V0": (5000, 1056)},
    {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (4960, 96), "NC2": (0, 0)},
)

TEGRASTATS_AGX_ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) "
    "CPU [0%@729,0%@729,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 "
    "CV0@-256C CPU@44.562C Tboard@32C tj@44.343C "
    "VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
TEGRASTATS_TX2 = (
    "RAM 1685/7854MB (lfb 1044x4MB) SWAP 278/8192MB (cached 23MB) CPU [0%@1303,0%@345,0%@345,0%@1419] "
    "EMC_FREQ 0%@1866 GR3D_FREQ 0%@140 APE 150 MTS fg 1% bg 8% BCPU@41C MCPU@41C GPU@39C PLL@41C Tboard@37C "
    "Tdiode@37.25C PMIC@100C thermal@39.9C VDD_IN 1931/1931 VDD_CPU 231/231 VDD_GPU 154/154 VDD_SOC 385/385 "
    "VDD_WIFI 38/38 VDD_DDR 326/326"
)

PMIC_READ_ADC = """ 3V7_WL_SW_A current(0)=0.09368929A
   3V3_SYS_A current(1)=0.08783370A
   1V8_SYS_A current(2)=0.18054710A
  DDR_VDD2_A current(3)=0.22543980A
  DDR_VDDQ_A current(4)=0.06666720A
   1V1_SYS_A current(5)=0.17566740A
    0V8_SW_A current(6)=0.37670900A
  VDD_CORE_A current(7)=6.22421000A
   3V3_DAC_A current(17)=0.00006105A
   3V3_ADC_A current(18)=0.00036630A
   0V8_AON_A current(16)=0.00305250A
      HDMI_A current(22)=0.02417580A
 3V7_WL_SW_V volt(8)=3.69977600V
   3V3_SYS_V volt(9)=3.31003300V
   1V8_SYS_V volt(10)=1.80512600V
  DDR_VDD2_V volt(11)=1.10476100V
  DDR_VDDQ_V volt(12)=0.60146460V
   1V1_SYS_V volt(13)=1.11025500V
    0V8_SW_V volt(14)=0.80146440V
  VDD_CORE_V volt(15)=0.86173300V
   3V3_DAC_V volt(20)=3.31318300V
   3V3_ADC_V volt(21)=3.30677300V
   0V8_AON_V volt(19)=0.80029220V
      HDMI_V volt(23)=5.08664000V
     EXT5V_V volt(24)=5.09066000V
      BATT_V volt(25)=0.00000000V
"""


def write_ina3221(sys: Path, number: int, rails: Rails, address: str = "1-0040") -> Path:
    """Write the files of one chip; a label that begins with NC marks an unused channel."""
    folder = hwmon(sys, number, "ina3221", address)
    for channel, (label, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        (folder / f"in{channel}_label").write_text(f"{'NC' if label.startswith('NC') else label}\n")
        (folder / f"in{channel}_enable").write_text("1\n")
        (folder / f"in{channel}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{channel}_input").write_text(f"{milliamperes}\n")
        (folder / f"shunt{channel}_resistor").write_text("5000\n")
    (folder / "in7_label").write_text("sum of shunt voltages\n")
    (folder / "in7_input").write_text("8520\n")
    return folder


def hwmon(sys: Path, number: int, name: str, address: str) -> Path:
    """Create an empty hwmon device, linked to its bus address as in sysfs."""
    device = sys / "devices/i2c-1" / address
    folder = sys / f"class/hwmon/hwmon{number}"
    device.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(device)
    (folder / "name").write_text(f"{name}\n")
    return folder


def write_program(folder: Path, name: str, script: str) -> None:
    """Write a shell script that replaces a program of the board and prints recorded output."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
