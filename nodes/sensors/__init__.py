"""Sensors of a board: power, temperature and throttling, each value with its source and scope.

    reading.py     readings and the protocol of a sensor
    jetson.py      the power rails of a Jetson that add up to the whole module
    hwmon.py       the kernel's hwmon: INA3221 of a Jetson, INA219 and INA226 with a driver, thermal zones
    tegrastats.py  NVIDIA's tegrastats, for a Jetson without power in hwmon
    raspberry.py   vcgencmd of a Raspberry Pi: power of the Pi 5, throttling
    ina2xx.py      an INA219 or INA226 in the supply line, over I2C, without a kernel driver
    search.py      search for the sensor of this machine
    energy.py      sampling of power, and the energy of an answer above idle

None of these modules has been tested on hardware: the tests use sysfs trees and outputs as documented by the
vendors.
"""
