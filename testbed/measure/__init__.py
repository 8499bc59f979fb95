"""Instruments: probes of a link, captures of both its ends, and requested against measured."""
