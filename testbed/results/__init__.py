"""What a run found: latency, tables, drawings and the report."""
