"""`bridge serve` as several processes on one machine (BRIDGE_PROCESSES).

The `supervisor` starts one leader process, which follows the table and owns the log, and serving
processes that share one port; each is a `worker`. They share limits (`admission`) and report to the
leader process (`reports`).
"""
