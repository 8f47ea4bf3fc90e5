"""The operator algebra, the SENSE operator, sparsity transforms, solvers and coil calibration."""
