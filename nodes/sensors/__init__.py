"""Power, temperature and throttling of the board that a node runs on; each figure with source and scope.

    reading.py     what a sensor gives
    jetson.py      which rails of a Jetson make up the whole
    hwmon.py       the kernel's: INA3221 of a Jetson, INA219 and INA226 with the kernel's driver, thermal
    zones tegrastats.py  NVIDIA's program, where hwmon has no power raspberry.py   vcgencmd of a Raspberry Pi:
    the Pi 5's power, throttling ina2xx.py      an INA219 or INA226 in the supply line, over I2C, without a
    kernel driver search.py      which of them this machine has energy.py      samples power, and says what an
    answer took above idle

None was tried on the hardware itself by this project: the tests read sysfs trees and outputs as the vendors
document them.
"""
