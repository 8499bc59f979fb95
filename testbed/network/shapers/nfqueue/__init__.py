"""Shapes links in user space, with packets parked in the kernel by NFQUEUE."""
