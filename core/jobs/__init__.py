"""Long-running roles of `sluice work`. Each holds a lease, and may be killed at any instant."""
