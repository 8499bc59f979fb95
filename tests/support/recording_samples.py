"""One small recording of each format, written by hand according to the format's documentation."""

from __future__ import annotations

from dataclasses import dataclass

from traces.recordings import Assumptions

LENS_IRTT = b"""timestamp,rtt,uplink,downlink
1705744800616897349,0,0,-1
1705744800626565141,120.126123,72.439368,47.68675
1705744800636737402,109.976237,62.295097,47.681199
1705744800646307744,100.411714,52.731855,47.679937
1705744800656691526,-1,0,0
1705744800666731717,0,-1,0
1705744800676416449,90.5,42.5,48.0
"""
LENS_PING = b"""timestamp,rtt
1705744800.533641,91.8
1705744800.55492,96.5
1705744800.602846,111.0
1705744800.61361,106.0
"""
PING = b"""PING 100.64.0.1 (100.64.0.1) 56(84) bytes of data.
[1700182800.410606] 64 bytes from 100.64.0.1: icmp_seq=65534 ttl=63 time=60.6 ms
[1700182800.421290] 64 bytes from 100.64.0.1: icmp_seq=65535 ttl=63 time=56.9 ms
[1700182800.442474] 64 bytes from 100.64.0.1: icmp_seq=0 ttl=63 time=62.0 ms
[1700182800.465254] 64 bytes from 100.64.0.1: icmp_seq=2 ttl=63 time=68.8 ms

--- 100.64.0.1 ping statistics ---
5 packets transmitted, 4 received, 20% packet loss, time 4005ms
rtt min/avg/max/mdev = 56.900/62.075/68.800/4.312 ms
"""
WETLINKS_PING = b"""site_name,timestamp_start,timestamp_end,target,ip_protocol,packet_loss,packets_send,ping_avg,\
ping_worst,ping_best,ping_stddev
Enschede,2023-10-01T00:00:00+02:00,2023-10-01T00:00:10+02:00,1.1.1.1,v4,0.0,10,40.0,60.1,30.2,5.5
Enschede,2023-10-01T00:03:00+02:00,2023-10-01T00:03:10+02:00,1.1.1.1,v4,19.0,10,44.0,60.1,30.2,5.5
Enschede,2023-10-01T00:06:00+02:00,2023-10-01T00:06:10+02:00,1.1.1.1,v4,100.0,10,,,,
"""  # noqa: E501
WETLINKS_IPERF = b"""site_name,timestamp_start,timestamp_end,server,ip_protocol,transport_protocol,download,upload
Osnabrueck,2023-10-01T00:00:00Z,2023-10-01T00:00:01Z,192.0.2.1,v4,UDP,101856000,7448000
Osnabrueck,2023-10-01T00:00:01Z,2023-10-01T00:00:02Z,192.0.2.1,v4,UDP,67160000,12718000
"""  # noqa: E501
ROAD_IPERF = b"""timestamp_start,timestamp_end,server,ip_protocol,transport_protocol,download,upload,\
priority,average_speed,download_mbps,upload_mbps
2024-01-11 10:06:39,2024-01-11 10:06:40,192.0.2.1,v4,UDP,101856000,7448000,1,0,101.856,7.448
2024-01-11 10:06:40,2024-01-11 10:06:41,192.0.2.1,v4,UDP,67160000,,1,0,67.16,
2024-01-11 10:08:00,2024-01-11 10:08:01,192.0.2.1,v4,UDP,63719000,3382000,1,0,63.719,3.382
"""
ION = b"""## begin ionadmin
1 1 ionconfig
s
# contacts are one-way
a contact +0 +600 1 2 125000
a contact +0 +600 2 1 12500 0.9
a contact +1200 +1800 1 2 250000
a contact +1200 +1800 2 1 12500
a range +0 +1800 1 2 1
m production 1000000
## end ionadmin
"""
GMAT = b"""Target: DefaultSC

Observer: GroundStation1
Start Time (UTC)            Stop Time (UTC)               Duration (s)
01 Jan 2000 13:18:45.268    01 Jan 2000 13:29:54.824      669.55576907
01 Jan 2000 15:06:44.752    01 Jan 2000 15:18:22.762      698.01023654


Number of events : 2


Observer: GroundStation2
Start Time (UTC)            Stop Time (UTC)               Duration (s)
01 Jan 2000 13:36:13.792    01 Jan 2000 13:47:51.717      697.92488540


Number of events : 1
"""
STK = b""""Facility-Svalbard-To-Satellite-Dove: Access Summary Report"

"Access","Start Time (UTCG)","Stop Time (UTCG)","Duration (sec)"
1,1 Jan 2026 00:42:11.284,1 Jan 2026 00:47:33.109,321.825
2,1 Jan 2026 02:18:44.902,1 Jan 2026 02:23:02.551,257.649

"Global Statistics"
"Min Duration",2,1 Jan 2026 02:18:44.902,1 Jan 2026 02:23:02.551,257.649
"""
SATNOGS = b"""[
 {"id": 1, "start": "2018-01-20T11:30:30Z", "end": "2018-01-20T11:34:34Z", "ground_station": 7,
  "station_name": "Svalbard", "station_lat": 78.23, "station_lng": 15.408, "station_alt": 450,
  "norad_cat_id": 41617, "max_altitude": 83.0, "vetted_status": "good",
  "tle0": "FLOCK 2P-1",
  "tle1": "@1", "tle2": "@2"}
]
"""
MAHIMAHI = b"1\n1\n2\n3\n100\n150\n199\n200\n"
MAHIMAHI_LOG = b"""# mahimahi mm-link (uplink) [up.mahi] > up.log
# command line: mm-link up.mahi down.mahi
# queue: infinite
# init timestamp: 1700182800000
# base timestamp: 12
13 # 1504
14 + 1500
14 # 1504
14 - 1500 0
112 # 1504
212 # 1504
"""
LEOREPLAYER_DELAY = b"24\n18\n18\n30\n"
IPERF3 = b"""Connecting to host 192.0.2.7, port 5201
Reverse mode, remote host 192.0.2.7 is sending
[  5] local 192.168.1.20 port 51436 connected to 192.0.2.7 port 5201
[ ID] Interval           Transfer     Bitrate
[  5]   0.00-1.00   sec  19.4 MBytes   162 Mbits/sec
[  5]   1.00-2.00   sec  6.62 MBytes  55.5 Mbits/sec
[  5]   2.00-3.00   sec   128 KBytes  1.05 Mbits/sec
- - - - - - - - - - - - - - - - - - - - - - - - -
[ ID] Interval           Transfer     Bitrate         Retr
[  5]   0.00-3.04   sec  26.1 MBytes  72.0 Mbits/sec   12             sender
[  5]   0.00-3.00   sec  26.1 MBytes  73.1 Mbits/sec                  receiver

iperf Done.
"""
SPEEDTEST = b"""Server ID,Sponsor,Server Name,Timestamp,Distance,Ping,Download,Upload,Share,IP Address
1234,"Isle Net, Ltd.",Douglas,2024-03-01T10:00:00.000000Z,52.4,41.5,101234567.5,11500000.25,,203.0.113.9
1234,"Isle Net, Ltd.",Douglas,2024-03-01T10:15:00.000000Z,52.4,39.5,95000000.0,12000000.0,,203.0.113.9
"""
DISH_HISTORY = b"""{"apiVersion": "24", "dishGetHistory": {
 "current": "7",
 "popPingDropRate": [0.25, 0, 1, 0, 0],
 "popPingLatencyMs": [50, 60, 60, 30, 40],
 "downlinkThroughputBps": [5000, 6000, 0, 3000, 4000],
 "uplinkThroughputBps": [500, 600, 700, 300, 400]
}}
"""
CSV = b"""when;loss;dl;ping
2024-01-11T10:00:00Z;0.5;20.5;30
2024-01-11T10:00:01Z;-1;0;31
2024-01-11T10:00:02Z;1;18;33
"""


def satnogs() -> bytes:
    """Return the sample with a real element set."""
    from traces.orbits.elements import find_satellite, read_elements
    from traces.orbits.tle import FLOCK_TLE

    dove = find_satellite(read_elements(FLOCK_TLE), "FLOCK 2P-1")
    return SATNOGS.replace(b"@1", dove.line1.encode()).replace(b"@2", dove.line2.encode())


@dataclass(frozen=True)
class Sample:
    """A recording and the assumptions that it needs."""

    data: bytes
    beside: Assumptions


_RATES = {"down_bit_s": 20e6, "up_bit_s": 2e6}
_DELAYS = {"down_delay_s": 0.01, "up_delay_s": 0.01}


def samples() -> dict[str, Sample]:
    """Return the samples by format."""
    from datetime import timezone

    return {
        "lens-irtt": Sample(LENS_IRTT, Assumptions(**_RATES)),
        "lens-ping": Sample(LENS_PING, Assumptions(**_RATES)),
        "ping": Sample(PING, Assumptions(**_RATES)),
        "wetlinks-ping": Sample(WETLINKS_PING, Assumptions(**_RATES)),
        "wetlinks-iperf": Sample(WETLINKS_IPERF, Assumptions(**_DELAYS)),
        "road-iperf": Sample(ROAD_IPERF, Assumptions(**_DELAYS, zone=timezone.utc)),
        "ion": Sample(ION, Assumptions(**_DELAYS)),
        "satnogs": Sample(satnogs(), Assumptions(**_RATES)),
        "gmat": Sample(GMAT, Assumptions(**_RATES, **_DELAYS, station="GroundStation1")),
        "stk": Sample(STK, Assumptions(**_RATES, **_DELAYS)),
        "mahimahi": Sample(MAHIMAHI, Assumptions(**_DELAYS)),
        "iperf3": Sample(IPERF3, Assumptions(up_bit_s=2e6, **_DELAYS)),
        "speedtest": Sample(SPEEDTEST, Assumptions()),
        "dish-history": Sample(DISH_HISTORY, Assumptions(**_RATES)),
        "mahimahi-log": Sample(MAHIMAHI_LOG, Assumptions(**_DELAYS)),
        "leoreplayer-delay": Sample(LEOREPLAYER_DELAY, Assumptions(**_RATES)),
        "csv": Sample(
            CSV,
            Assumptions(
                up_bit_s=2e6,
                columns="time=when:iso,down=dl:Mbit/s,rtt=4:ms,loss=loss:percent",
                separator=";",
                missing=(-1.0,),
            ),
        ),
    }
