"""Packaging of the SpaceVerse testbed; tool settings live in pyproject.toml."""

from setuptools import find_packages, setup

# What a satellite or ground program needs, also on a bare board: no Mininet, no root, no compiler.
NODE = [
    "torch>=2.4,<3",  # runs the vision-language models
    "transformers>=5,<6",  # loads them, from a folder or a hub name
    "safetensors>=0.4,<1",  # the weights' file format
    "pillow>=10",  # decodes frames
    "numpy>=1.24,<3",  # pixels as arrays
    "paho-mqtt>=2.1,<3",  # MQTT client; 2.1 is the first with Unix sockets, 1.x has another callback API
    "msgspec>=0.19,<1",  # typed messages of the transfer protocol, checked as they are decoded
    "msgpack>=1,<2",  # answers and regions, the content of what is transferred
    "pydantic>=2.6,<3",  # checks the programs' configuration files
]

# A power sensor in a board's supply line that its kernel has no driver for.
SENSORS = ["smbus2>=0.4,<1"]  # I2C; the chips' own packages bring a GPIO stack for two registers

# What rebuilds the small pair of models: `python -m nodes.lab.training`.
TRAINING = ["rich>=13,<16"]  # progress bars

# What emulates the network around them and draws the results.
TESTBED = [
    "mininet==2.3.0.dev6",  # hosts; the only Mininet on PyPI (mnexec comes from the Debian package)
    "setuptools>=68",  # Mininet imports distutils, which Python 3.12 left to setuptools
    "pyroute2>=0.9.1,<0.10",  # netlink: namespaces, veths, bridges, and reading them back
    "scapy>=2.5,<3",  # packets for probes and captures
    "skyfield>=1.48,<2",  # orbits, stations, time scales
    "sgp4>=2.22,<3",  # the propagator under skyfield; its arrays propagate constellations
    "numpy>=1.24,<3",  # traces as arrays
    "pandas>=2.2,<4",  # reads tables of numbers: a day of 10 ms probes in seconds, each number exactly
    "matplotlib>=3.7,<4",  # plots of passes, timelines, ground tracks
    "jinja2>=3.1,<4",  # report.html
    "pillow>=10",  # thumbnails in the report
    "rich>=13,<16",  # progress and tables on the terminal
    "pydantic>=2.6,<3",  # checks scenarios, names the misspelled field
    "paho-mqtt>=2.1,<3",  # the management plane
    "trustme>=1.2,<2",  # a run's certificate authority and its stations' certificates
    "msgpack>=1,<2",  # binary schema of the shaper process's control messages
    "setproctitle>=1.3,<2",  # `ps` shows which program a forked process is
    "shtab>=1.7,<2",  # `spaceverse --print-completion`, from the parsers of argparse
    "tomli>=2,<3; python_version < '3.11'",  # reads boards.toml; 3.11 has it as tomllib
]

# What prepares boards: `spaceverse board bundle` and `board deploy`.
BOARDS = [
    "uv>=0.5,<1",  # resolves packages for another machine's architecture and Python, which pip cannot
    "asyncssh>=2.18,<3",  # ssh and sftp, typed, with known_hosts and agents as OpenSSH has them
]

# Rain and clouds on the link budget.
WEATHER = ["itur>=0.4,<0.5"]  # ITU-R P.618 and the maps that it needs

# Files of other programs: `spaceverse export`.
EXPORT = [
    "pyarrow>=15,<27",  # Parquet, written by pandas
    "prometheus-client>=0.20,<1",  # metrics of a run, in the text format of Prometheus
    "tensorboardX>=2.6,<3",  # event files of TensorBoard, without TensorFlow or torch
    "czml3>=4,<5",  # CZML for Cesium, checked as it is written
]

# Benchmarks of the user's own: frames from GeoTIFFs, and what Hugging Face `datasets` saves.
GEOTIFF = ["rasterio>=1.4,<2"]  # reads windows of scenes of any size and depth, with their georeference
DATASETS = ["pyarrow>=15,<27"]  # reads Arrow files, without the packages of a data loader

# Sweeps on several machines: `spaceverse eval --cluster`.
CLUSTER = [
    "ray>=2.52,<3",  # places work and reports lost machines; 2.52 is the first with token authentication
    "submitit>=1.5,<2",  # the same through Slurm, where there is no Ray
]

# What drives Debian's Chromium in tests of the live page: `make test-live`.
BROWSER = ["playwright>=1.49,<2"]

DEV = [
    "import-linter>=2.1,<3",  # checks which package may import which
    "sphinx>=8,<10",  # builds the documentation
    "furo>=2024.8",  # its theme
    "myst-parser>=4,<6",  # reads its pages, which are Markdown
    "sphinx-copybutton>=0.5,<1",  # a button that copies a command
    "brahe>=1.8,<2",  # a second opinion on passes, in tests only
    "tensorboard>=2.16,<3",  # reads exported event files, in tests only
    "dpkt>=1.9.8,<2",  # reads captures of runs, in tests only
    "duckdb>=1.1,<3",  # reads exported Parquet, in tests only
    "fastkml>=1.4,<2",  # reads exported KML, in tests only
    "oem>=0.4.5,<0.5",  # reads exported ephemeris messages, and makes its own, in tests only
    "skyfield-data>=7,<8",  # JPL's ephemeris de421, a second opinion on the sun, in tests only
    "pyyaml>=6,<7",  # reads the manifest in docs, in tests only
    "pytest>=8,<9.2",  # runs the tests; 9.2 makes pytest-xdist 3.8 ignore groups (its issue 1386)
    "pytest-rerunfailures>=16,<17",  # repeats a test that failed while the machine was starved
    "pytest-xdist>=3.6,<4",  # runs the unit tests on all cores
    "hypothesis>=6.100,<7",  # property and fuzz tests
    "ruff>=0.9,<1",  # linter and formatter
    "mypy>=1.11,<3",  # strict type checks
]

setup(
    name="spaceverse-testbed",
    version="0.1.0",
    description="Satellite-ground vision-language models over an emulated LEO network, measured end to end",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=find_packages(include=["testbed*", "nodes*", "traces*", "topologies*"]),
    package_data={
        "testbed": [
            "export/data/*",
            "live/page/*",
            "machine/*.c",
            "replay/data/*",
            "results/data/*",
            "py.typed",
        ],
        "nodes": ["data/**/*", "models/**/*", "profiles/published/*", "py.typed"],
        "traces": ["orbits/data/*", "py.typed"],
        "topologies": ["profiles/*.json"],
    },
    extras_require={
        "node": NODE,
        "sensors": SENSORS,
        "training": TRAINING,
        "testbed": TESTBED,
        "boards": BOARDS,
        "weather": WEATHER,
        "browser": BROWSER,
        "export": EXPORT,
        "geotiff": GEOTIFF,
        "datasets": DATASETS,
        "cluster": CLUSTER,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["spaceverse = testbed.cli.main:main"]},
)
