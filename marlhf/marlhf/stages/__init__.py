"""The stages of the pipeline as runs, one module each; `marlhf.program.Trainer` says the form of a stage."""
