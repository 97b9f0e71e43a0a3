"""The batched engine: seeds and conditions as one array axis, an iteration one function, a run one loop on the device."""
