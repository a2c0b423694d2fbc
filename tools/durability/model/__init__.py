"""Power cuts and failing syncs of a modelled disk, at every operation of a scan.

disk, sync_errors, recorder: the model; hooks: kills and concurrent actions; world, scenarios: the scans that run on it;
cuts: cut, recover, compare.
"""
