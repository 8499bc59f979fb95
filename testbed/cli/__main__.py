"""`python -m testbed.cli`: the same as `spaceverse`."""

from testbed.cli.main import main

raise SystemExit(main())
